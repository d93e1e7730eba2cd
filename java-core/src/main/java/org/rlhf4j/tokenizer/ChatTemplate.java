package org.rlhf4j.tokenizer;

import java.time.LocalDateTime;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;
import org.rlhf4j.tokenizer.jinja.Function;
import org.rlhf4j.tokenizer.jinja.JinjaException;
import org.rlhf4j.tokenizer.jinja.Template;

/**
 * A model's chat template: a conversation becomes the text that the model was trained on. Behaves
 * like transformers' {@code apply_chat_template}: trim_blocks and lstrip_blocks are on, {@code
 * bos_token}, {@code eos_token} and the like, {@code raise_exception}, {@code strftime_now} and
 * {@code tojson} are there. What the messages say is never interpreted as a template. Any number of
 * threads may render at once.
 */
public final class ChatTemplate {
  private final String source;
  private final Template template;
  private final SpecialTokens special;

  /** What a template says by {@code raise_exception}. */
  private static final class Raised extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Raised(String message) {
      super(message);
    }
  }

  /**
   * @param source the Jinja text
   * @param special the tokens that the template may name
   * @throws InputException when it is no template
   */
  public ChatTemplate(String source, SpecialTokens special) {
    this.source = source;
    this.special = special;
    try {
      this.template = new Template(source);
    } catch (JinjaException e) {
      throw new InputException("chat template, " + e.getMessage(), e);
    }
  }

  /** The Jinja text. */
  public String source() {
    return source;
  }

  /**
   * Renders a conversation.
   *
   * @param addGenerationPrompt also open the assistant's turn, for the model to go on
   * @param extra further variables that the template may look at ({@code enable_thinking}, {@code
   *     tools}, …)
   * @throws InputException with the template's own message when it refuses the conversation, or
   *     with the engine's when it cannot be rendered
   */
  public String render(List<Message> messages, boolean addGenerationPrompt, Map<String, ?> extra) {
    Map<String, Object> variables = new LinkedHashMap<>();
    putIfKnown(variables, "bos_token", special.bos());
    putIfKnown(variables, "eos_token", special.eos());
    putIfKnown(variables, "pad_token", special.pad());
    putIfKnown(variables, "unk_token", special.unk());
    variables.put("raise_exception", RAISE);
    variables.put("strftime_now", NOW);
    variables.put("tools", null);
    variables.put("documents", null);
    variables.putAll(extra);
    variables.put("messages", messages.stream().map(Message::toMap).toList());
    variables.put("add_generation_prompt", addGenerationPrompt);
    try {
      return template.render(variables);
    } catch (Raised e) {
      throw new InputException("the chat template refuses the conversation: " + e.getMessage());
    } catch (JinjaException e) {
      throw new InputException("chat template, " + e.getMessage(), e);
    }
  }

  /** {@link #render} with no further variables. */
  public String render(List<Message> messages, boolean addGenerationPrompt) {
    return render(messages, addGenerationPrompt, Map.of());
  }

  private static void putIfKnown(Map<String, Object> variables, String name, String value) {
    if (value != null) {
      variables.put(name, value);
    }
  }

  private static final Function RAISE =
      (arguments, named) -> {
        throw new Raised(String.valueOf(arguments.get(0)));
      };

  /** The local time in C's format. */
  private static final Function NOW =
      (arguments, named) ->
          PythonTime.format(LocalDateTime.now(), String.valueOf(arguments.get(0)));
}
