package org.rlhf4j.config;

import java.io.IOException;
import java.io.StringReader;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.rlhf4j.InputException;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.error.MarkedYAMLException;
import org.yaml.snakeyaml.error.YAMLException;
import org.yaml.snakeyaml.nodes.MappingNode;
import org.yaml.snakeyaml.nodes.Node;
import org.yaml.snakeyaml.nodes.NodeTuple;
import org.yaml.snakeyaml.nodes.ScalarNode;
import org.yaml.snakeyaml.nodes.SequenceNode;

/**
 * A YAML file as flat entries with their lines. Scalars are kept as written: YAML 1.1 would read
 * 1e-4 as a string, and {@code off} as false, but only the key's own type knows what is meant.
 */
final class YamlEntries {
  private YamlEntries() {}

  /**
   * One leaf of the file.
   *
   * @param name dotted ("lora.r")
   * @param value a String as written, a list of such, a map of such under a key whose value is a
   *     map, or null where the file has nothing
   * @param line counts from 1
   */
  record Entry(String name, Object value, int line) {}

  /**
   * Reads {@code file}. Nested maps become dotted names, except those under a name in {@code
   * opaque}, which are left out.
   *
   * @throws InputException with FILE:LINE if it cannot be read or is not a map of scalars, lists
   *     and maps
   */
  static List<Entry> read(Path file, Set<String> opaque) {
    List<Entry> entries = new ArrayList<>();
    Node root = compose(file);
    if (root == null) {
      return entries;
    }
    if (!(root instanceof MappingNode map)) {
      throw InputException.at(file, line(root), "expected a map of configuration keys");
    }
    collect(file, "", map, opaque, entries);
    return entries;
  }

  private static Node compose(Path file) {
    try (var reader = Files.newBufferedReader(file)) {
      return new Yaml(new LoaderOptions()).compose(reader);
    } catch (MarkedYAMLException e) {
      long line = e.getProblemMark() == null ? 1 : e.getProblemMark().getLine() + 1L;
      throw InputException.at(file, line, "not valid YAML: " + e.getProblem());
    } catch (YAMLException e) {
      throw InputException.at(file, "not valid YAML: " + e.getMessage());
    } catch (NoSuchFileException e) {
      throw InputException.at(file, "no such file");
    } catch (CharacterCodingException e) {
      throw InputException.at(file, "not UTF-8 text");
    } catch (IOException e) {
      throw InputException.at(file, "cannot be read: " + e);
    }
  }

  private static void collect(
      Path file, String prefix, MappingNode map, Set<String> opaque, List<Entry> entries) {
    for (NodeTuple tuple : map.getValue()) {
      if (!(tuple.getKeyNode() instanceof ScalarNode key)) {
        throw InputException.at(
            file, line(tuple.getKeyNode()), "expected a key, found a list or map");
      }
      String name = prefix + key.getValue();
      if (opaque.contains(name)) {
        continue;
      }
      Node value = tuple.getValueNode();
      boolean isValue = Keys.find(name).filter(k -> k.type() == ValueType.NUMBERS).isPresent();
      if (value instanceof MappingNode nested && isValue) {
        entries.add(new Entry(name, scalars(nested), line(key)));
      } else if (value instanceof MappingNode nested) {
        collect(file, name + ".", nested, opaque, entries);
      } else {
        entries.add(new Entry(name, leaf(file, name, value), line(key)));
      }
    }
  }

  private static Object leaf(Path file, String name, Node value) {
    if (value instanceof ScalarNode scalar) {
      boolean nothing =
          scalar.isPlain() && Set.of("", "~", "null", "Null", "NULL").contains(scalar.getValue());
      return nothing ? null : scalar.getValue();
    }
    List<String> items = new ArrayList<>();
    for (Node item : ((SequenceNode) value).getValue()) {
      if (!(item instanceof ScalarNode scalar)) {
        throw InputException.at(file, line(item), name + ": expected a list of names");
      }
      items.add(scalar.getValue());
    }
    return items;
  }

  /**
   * The map that {@code text} is in YAML, in braces or without, its scalars as written.
   *
   * @throws IllegalArgumentException if it is none
   */
  static Map<String, String> map(String text) {
    String inBraces = text.startsWith("{") ? text : "{" + text + "}";
    try {
      Node root = new Yaml(new LoaderOptions()).compose(new StringReader(inBraces));
      if (root instanceof MappingNode map) {
        return scalars(map);
      }
    } catch (YAMLException e) {
      // Not YAML: said below.
    }
    throw new IllegalArgumentException(text);
  }

  /** What is no scalar comes out as "null", which no value type accepts. */
  private static Map<String, String> scalars(MappingNode map) {
    Map<String, String> scalars = new LinkedHashMap<>();
    for (NodeTuple tuple : map.getValue()) {
      scalars.put(scalar(tuple.getKeyNode()), scalar(tuple.getValueNode()));
    }
    return scalars;
  }

  private static String scalar(Node node) {
    return node instanceof ScalarNode s ? s.getValue() : "null";
  }

  private static int line(Node node) {
    return node.getStartMark().getLine() + 1;
  }
}
