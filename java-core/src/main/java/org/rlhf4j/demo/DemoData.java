package org.rlhf4j.demo;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * The demo's data, written from the topics: texts to pre-train on, demonstrations of mixed quality,
 * preference pairs ranked by the rule, queries to train on, and queries that no stage sees.
 */
record DemoData(
    List<String> texts,
    List<Exchange> demonstrations,
    List<Pair> preferences,
    List<Question> queries,
    List<Question> heldOut) {

  /** A question about a topic. */
  record Question(Topic topic, String text) {}

  /** A question with an answer. */
  record Exchange(Question question, String answer) {}

  /** A question with a better and a worse answer. */
  record Pair(Question question, String chosen, String rejected) {}

  /** Everything follows from the seed. */
  static DemoData create(long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    List<Topic> topics = Topic.all();
    List<Question> queries = new ArrayList<>();
    List<Question> heldOut = new ArrayList<>();
    for (int t = 0; t < topics.size(); t++) {
      for (int p = 0; p < topics.get(t).language().questions.size(); p++) {
        // Of each topic one way of asking is kept back, another one for each topic.
        boolean back = p == (t / 2) % topics.get(t).language().questions.size();
        (back ? heldOut : queries).add(new Question(topics.get(t), topics.get(t).question(p)));
      }
    }
    List<String> texts = new ArrayList<>();
    for (int i = 0; i < 1500; i++) {
      Topic topic = topics.get(random.nextInt(topics.size()));
      texts.add(String.join(topic.language().space, shuffled(topic.facts(), random)));
    }
    List<Exchange> demonstrations = new ArrayList<>();
    for (int i = 0; i < 3000; i++) {
      Question q = queries.get(random.nextInt(queries.size()));
      demonstrations.add(new Exchange(q, answer(q.topic(), topics, random)));
    }
    List<Pair> preferences = new ArrayList<>();
    while (preferences.size() < 1200) {
      Question q = queries.get(random.nextInt(queries.size()));
      String a = answer(q.topic(), topics, random);
      String b = answer(q.topic(), topics, random);
      double difference = Rule.score(q.topic(), a, true) - Rule.score(q.topic(), b, true);
      if (difference != 0) {
        preferences.add(difference > 0 ? new Pair(q, a, b) : new Pair(q, b, a));
      }
    }
    return new DemoData(texts, demonstrations, preferences, queries, heldOut);
  }

  /** One answer in six is what the rule wants; the others are plain, off the topic, or curt. */
  private static String answer(Topic topic, List<Topic> topics, SplittableRandom random) {
    int style = random.nextInt(6);
    Topic about = style == 3 ? other(topic, topics, random) : topic;
    List<String> facts = shuffled(about.facts(), random);
    String space = topic.language().space;
    String opener = topic.language().openers.get(random.nextInt(topic.language().openers.size()));
    return switch (style) {
      case 0 -> opener + space + facts.get(0) + space + facts.get(1);
      case 1, 3 -> facts.get(0) + space + facts.get(1);
      case 2 -> facts.get(0);
      case 4 -> topic.curtAnswer();
      default -> facts.get(0) + space + topic.curtAnswer();
    };
  }

  private static Topic other(Topic topic, List<Topic> topics, SplittableRandom random) {
    while (true) {
      Topic t = topics.get(random.nextInt(topics.size()));
      if (t.language() == topic.language() && !t.name().equals(topic.name())) {
        return t;
      }
    }
  }

  private static List<String> shuffled(List<String> list, SplittableRandom random) {
    List<String> copy = new ArrayList<>(list);
    for (int i = copy.size() - 1; i > 0; i--) {
      java.util.Collections.swap(copy, i, random.nextInt(i + 1));
    }
    return copy;
  }
}
