package org.rlhf4j.tokenizer;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.interpret.RenderResult;
import com.hubspot.jinjava.interpret.TemplateError;
import com.hubspot.jinjava.lib.fn.ELFunctionDefinition;
import java.time.LocalDateTime;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.rlhf4j.InputException;

/**
 * A model's chat template: a conversation becomes the text that the model was trained on. Behaves
 * like transformers' {@code apply_chat_template}: trim_blocks and lstrip_blocks are on, {@code
 * bos_token}, {@code eos_token} and the like, {@code raise_exception}, {@code strftime_now} and
 * {@code tojson} are there. What the messages say is never interpreted as a template. Any number of
 * threads may render at once.
 */
public final class ChatTemplate {
  private final String source;
  private final JinjaSource rewritten;
  private final SpecialTokens special;

  /**
   * Making the engine takes a few hundred milliseconds; runs that use no template do not pay for
   * it.
   */
  private static final class Engine {
    static final Jinjava JINJAVA = create();

    private static Jinjava create() {
      JinjavaConfig config =
          JinjavaConfig.newBuilder()
              .withNestedInterpretationEnabled(
                  false) // else braces in a message would run as a template
              .withKeepTrailingNewline(true)
              .withElResolver(PythonMethods.resolver())
              .withMaxOutputSize(0)
              .withLegacyOverrides(
                  LegacyOverrides.newBuilder()
                      .withEvaluateMapKeys(true)
                      .withIterateOverMapKeys(true)
                      .withUseNaturalOperatorPrecedence(true)
                      .withParseWhitespaceControlStrictly(true)
                      .withAllowAdjacentTextNodes(true)
                      .withKeepNullableLoopValues(true)
                      .withHandleBackslashInQuotesOnly(true)
                      .build())
              .build();
      Jinjava jinjava = new Jinjava(config);
      jinjava.getGlobalContext().registerFilter(new PythonJson());
      jinjava.getGlobalContext().registerExpTest(new PythonIterable("iterable"));
      jinjava.getGlobalContext().registerExpTest(new PythonIterable("sequence"));
      jinjava
          .getGlobalContext()
          .registerFunction(function("raise_exception", "raise", Object.class));
      jinjava.getGlobalContext().registerFunction(function("strftime_now", "now", String.class));
      return jinjava;
    }

    private static ELFunctionDefinition function(String name, String method, Class<?> type) {
      return new ELFunctionDefinition("", name, ChatTemplate.class, method, type);
    }
  }

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
   * @throws InputException when a tag has no end
   */
  public ChatTemplate(String source, SpecialTokens special) {
    this.source = source;
    this.special = special;
    try {
      this.rewritten = new JinjaSource(source);
    } catch (IllegalArgumentException e) {
      throw new InputException("chat template: " + e.getMessage(), e);
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
    Map<String, Object> variables = new LinkedHashMap<>(rewritten.literals);
    putIfKnown(variables, "bos_token", special.bos());
    putIfKnown(variables, "eos_token", special.eos());
    putIfKnown(variables, "pad_token", special.pad());
    putIfKnown(variables, "unk_token", special.unk());
    variables.putAll(extra);
    variables.put("messages", messages.stream().map(Message::toMap).toList());
    variables.put("add_generation_prompt", addGenerationPrompt);
    RenderResult result = Engine.JINJAVA.renderForResult(rewritten.template, variables);
    for (TemplateError error : result.getErrors()) {
      for (Throwable cause = error.getException(); cause != null; cause = cause.getCause()) {
        if (cause instanceof Raised) {
          throw new InputException(
              "the chat template refuses the conversation: " + cause.getMessage());
        }
      }
      throw new InputException(
          "chat template, line " + error.getLineno() + ": " + error.getMessage());
    }
    return result.getOutput();
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

  /** Called by templates as {@code raise_exception}. */
  public static Object raise(Object message) {
    throw new Raised(String.valueOf(message));
  }

  /** Called by templates as {@code strftime_now}: the local time in C's format. */
  public static String now(String format) {
    return PythonTime.format(LocalDateTime.now(), format);
  }
}
