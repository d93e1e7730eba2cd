package org.rlhf4j.hub;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.rlhf4j.InputException;

/**
 * Which of a repository's files make up the model or the adapter. Other formats of the same weights
 * (consolidated*.safetensors, original/, ONNX, .bin, .pth) are left where they are.
 */
final class Wanted {
  static final String CONFIG = "config.json";
  static final String WEIGHTS = "model.safetensors";
  static final String INDEX = "model.safetensors.index.json";
  static final String ADAPTER_CONFIG = "adapter_config.json";
  static final String ADAPTER_WEIGHTS = "adapter_model.safetensors";
  static final String VALUE_HEAD = "value_head.safetensors";

  /** Files of a model that it may lack, and that change what it does. */
  static final List<String> OPTIONAL =
      List.of(
          "tokenizer.json",
          "tokenizer_config.json",
          "generation_config.json",
          "chat_template.jinja");

  private static final Set<String> SMALL =
      Set.of(
          CONFIG,
          ADAPTER_CONFIG,
          "tokenizer.model",
          "special_tokens_map.json",
          "added_tokens.json",
          "vocab.json",
          "vocab.txt",
          "merges.txt",
          "chat_template.json");

  private static final String TEMPLATES = "additional_chat_templates/";

  private Wanted() {}

  /**
   * Configuration and tokenizer files, without the index.
   *
   * @throws InputException if the repository has no weights that can be read; says what it has
   */
  static List<RepoFile> small(ModelName model, RepoListing listing) {
    requireWeights(model, listing);
    return listing.files().values().stream()
        .filter(
            f ->
                SMALL.contains(f.name())
                    || OPTIONAL.contains(f.name())
                    || f.name().startsWith(TEMPLATES) && f.name().endsWith(".jinja"))
        .toList();
  }

  /**
   * Weights, and the heads of an adapter.
   *
   * @param index the content of {@link #INDEX}; null where there is none
   */
  static List<RepoFile> weights(ModelName model, RepoListing listing, JsonNode index) {
    List<RepoFile> wanted = new ArrayList<>();
    if (index != null) {
      for (String shard : shards(index, model.toString())) {
        if (!listing.files().containsKey(shard)) {
          throw new InputException(
              model + ": " + INDEX + " names " + shard + ", and the repository has no such file");
        }
        wanted.add(listing.files().get(shard));
      }
    }
    for (String name :
        index == null
            ? List.of(WEIGHTS, ADAPTER_WEIGHTS, VALUE_HEAD)
            : List.of(ADAPTER_WEIGHTS, VALUE_HEAD)) {
      if (listing.files().containsKey(name)) {
        wanted.add(listing.files().get(name));
      }
    }
    return wanted;
  }

  /** The shards that an index names, once each; every name is checked. */
  static Set<String> shards(JsonNode index, String where) {
    Set<String> shards = new TreeSet<>();
    for (JsonNode shard : index.path("weight_map")) {
      shards.add(SafeNames.checked(shard.asText(), where));
    }
    if (shards.isEmpty()) {
      throw new InputException(
          where + ": " + INDEX + ": expected weight_map with shards, found none");
    }
    return shards;
  }

  private static void requireWeights(ModelName model, RepoListing listing) {
    Set<String> names = listing.files().keySet();
    boolean isModel = names.contains(CONFIG) && (names.contains(INDEX) || names.contains(WEIGHTS));
    boolean isAdapter = names.contains(ADAPTER_CONFIG) && names.contains(ADAPTER_WEIGHTS);
    if (isModel || isAdapter) {
      return;
    }
    List<String> gguf = ending(names, ".gguf");
    if (!gguf.isEmpty() && !names.contains(INDEX) && !names.contains(WEIGHTS)) {
      throw new InputException(
          model
              + ": has GGUF files; name the one that is meant, as "
              + new ModelName(model.repo(), model.revision(), Optional.of(gguf.getFirst()))
              + ": "
              + String.join(", ", gguf));
    }
    List<String> pickled = new ArrayList<>(ending(names, ".bin"));
    pickled.addAll(ending(names, ".pth"));
    pickled.addAll(ending(names, ".pt"));
    if (!pickled.isEmpty()) {
      throw new InputException(
          model
              + ": expected weights as safetensors, found "
              + String.join(", ", pickled)
              + "; such files can run code when they are read: save the model again with"
              + " transformers' save_pretrained");
    }
    throw new InputException(
        model
            + ": expected config.json with model.safetensors, or adapter_config.json with"
            + " adapter_model.safetensors, found "
            + (names.isEmpty()
                ? "an empty repository"
                : names.stream().limit(12).collect(Collectors.joining(", "))));
  }

  static List<String> ending(Set<String> names, String end) {
    return names.stream().filter(n -> n.endsWith(end)).sorted().toList();
  }
}
