package org.rlhf4j.demo;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.rlhf4j.json.Json;

/** Something to talk about, in one language, with true sentences about it that name it. */
record Topic(Language language, String name, List<String> facts) {

  /** How a language asks, answers and joins sentences. */
  enum Language {
    ENGLISH(
        " ",
        List.of(
            "Tell me about %s.",
            "What can you say about %s?",
            "Please describe %s.",
            "I want to learn about %s.",
            "Say something about %s."),
        List.of("Thank you for asking.", "What a nice question!"),
        "%s, whatever."),
    CHINESE(
        "",
        List.of("请介绍一下%s。", "%s是什么样的？", "给我讲讲%s。", "我想了解%s。", "说说%s吧。"),
        List.of("谢谢你的提问。", "很高兴回答你。"),
        "%s，随便吧。");

    final String space;
    final List<String> questions;
    final List<String> openers;
    final String curt;

    Language(String space, List<String> questions, List<String> openers, String curt) {
      this.space = space;
      this.questions = questions;
      this.openers = openers;
      this.curt = curt;
    }
  }

  String question(int phrasing) {
    return String.format(language.questions.get(phrasing), name);
  }

  /** An answer that nobody likes. */
  String curtAnswer() {
    return String.format(language.curt, Character.toUpperCase(name.charAt(0)) + name.substring(1));
  }

  /** All topics in both languages, as they are shipped. */
  static List<Topic> all() {
    List<Topic> topics = new ArrayList<>();
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(
                Topic.class.getResourceAsStream("topics.jsonl"), StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        JsonNode t = Json.MAPPER.readTree(line);
        topics.add(new Topic(Language.ENGLISH, t.get("en").asText(), texts(t.get("en_facts"))));
        topics.add(new Topic(Language.CHINESE, t.get("zh").asText(), texts(t.get("zh_facts"))));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return topics;
  }

  private static List<String> texts(JsonNode list) {
    List<String> texts = new ArrayList<>();
    list.forEach(n -> texts.add(n.asText()));
    return List.copyOf(texts);
  }
}
