package org.rlhf4j.data;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.rlhf4j.tokenizer.Message;

/**
 * Conversations written as one text, as the HH-RLHF sets have them: {@code "\n\nHuman: …\n\n
 * Assistant: …"}.
 */
final class HumanAssistant {
  private static final Pattern TURN = Pattern.compile("(?:^|\n\n)(Human|Assistant):");

  private HumanAssistant() {}

  /** Whether a text begins with a turn and has one of the assistant's. */
  static boolean is(String text) {
    String bare = text.stripLeading();
    return bare.startsWith("Human:") && text.contains("\n\nAssistant:");
  }

  /** The turns. */
  static List<Message> messages(String text) {
    String bare = text.stripLeading();
    List<Message> messages = new ArrayList<>();
    Matcher turns = TURN.matcher(bare);
    int from = 0;
    String role = null;
    while (turns.find()) {
      if (role != null) {
        messages.add(new Message(role, bare.substring(from, turns.start()).strip()));
      }
      role = turns.group(1).equals("Human") ? "user" : "assistant";
      from = turns.end();
    }
    messages.add(new Message(role, bare.substring(from).strip()));
    return messages;
  }

  /** How long the start is that both have, up to and with the last "Assistant:" in it. */
  static int sharedPrompt(String chosen, String rejected) {
    int same = 0;
    while (same < Math.min(chosen.length(), rejected.length())
        && chosen.charAt(same) == rejected.charAt(same)) {
      same++;
    }
    String mark = "\n\nAssistant:";
    int last = chosen.substring(0, same).lastIndexOf(mark);
    return last < 0 ? 0 : last + mark.length();
  }
}
