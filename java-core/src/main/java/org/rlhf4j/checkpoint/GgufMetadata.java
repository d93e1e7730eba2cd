package org.rlhf4j.checkpoint;

import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.OptionalLong;
import org.rlhf4j.InputException;
import org.rlhf4j.Nearest;

/**
 * The keys and values at the head of a GGUF file. Values are Long (every integer type), Float,
 * Double, Boolean, String, and for arrays long[], float[], double[], boolean[], String[] or
 * (nested) Object[].
 */
public final class GgufMetadata {
  private static final int MAX_NESTING = 8;

  private final Path file;
  private final Map<String, Object> values;

  private GgufMetadata(Path file, Map<String, Object> values) {
    this.file = file;
    this.values = Collections.unmodifiableMap(values);
  }

  static GgufMetadata parse(Path file, GgufCursor cursor, int count) {
    Map<String, Object> values = new LinkedHashMap<>();
    for (int i = 0; i < count; i++) {
      String key = cursor.string();
      Object value = value(file, key, cursor, cursor.i32(), 0);
      if (values.put(key, value) != null) {
        throw InputException.at(file, "metadata key '" + key + "' occurs twice");
      }
    }
    return new GgufMetadata(file, values);
  }

  private static Object value(Path file, String key, GgufCursor cursor, int type, int depth) {
    return switch (type) {
      case 0 -> (long) (cursor.i8() & 0xFF);
      case 1 -> (long) cursor.i8();
      case 2 -> (long) (cursor.i16() & 0xFFFF);
      case 3 -> (long) cursor.i16();
      case 4 -> Integer.toUnsignedLong(cursor.i32());
      case 5 -> (long) cursor.i32();
      case 6 -> cursor.f32();
      case 7 -> cursor.i8() != 0;
      case 8 -> cursor.string();
      case 9 -> array(file, key, cursor, depth + 1);
      case 10, 11 -> cursor.i64();
      case 12 -> cursor.f64();
      default ->
          throw InputException.at(
              file, "metadata key '" + key + "': expected a value type of 0 to 12, found " + type);
    };
  }

  private static Object array(Path file, String key, GgufCursor cursor, int depth) {
    if (depth > MAX_NESTING) {
      throw InputException.at(
          file, "metadata key '" + key + "': arrays nested more than " + MAX_NESTING + " deep");
    }
    int type = cursor.i32();
    int itemBytes =
        switch (type) {
          case 2, 3 -> 2;
          case 4, 5, 6 -> 4;
          case 8, 10, 11, 12 -> 8;
          case 9 -> 12;
          default -> 1;
        };
    int count = cursor.count("list for '" + key + "'", itemBytes);
    switch (type) {
      case 6 -> {
        float[] items = new float[count];
        for (int i = 0; i < count; i++) {
          items[i] = cursor.f32();
        }
        return items;
      }
      case 7 -> {
        boolean[] items = new boolean[count];
        for (int i = 0; i < count; i++) {
          items[i] = cursor.i8() != 0;
        }
        return items;
      }
      case 8 -> {
        String[] items = new String[count];
        for (int i = 0; i < count; i++) {
          items[i] = cursor.string();
        }
        return items;
      }
      case 9 -> {
        Object[] items = new Object[count];
        for (int i = 0; i < count; i++) {
          items[i] = array(file, key, cursor, depth + 1);
        }
        return items;
      }
      case 12 -> {
        double[] items = new double[count];
        for (int i = 0; i < count; i++) {
          items[i] = cursor.f64();
        }
        return items;
      }
      default -> {
        long[] items = new long[count];
        for (int i = 0; i < count; i++) {
          items[i] = (Long) value(file, key, cursor, type, depth);
        }
        return items;
      }
    }
  }

  /** All of it, in the order of the file; arrays must not be modified. */
  public Map<String, Object> values() {
    return values;
  }

  public boolean has(String key) {
    return values.containsKey(key);
  }

  /**
   * The value of that type, or null when the key is absent. A value of another type is an
   * InputException.
   */
  public <T> T get(String key, Class<T> type) {
    Object value = values.get(key);
    if (value != null && !type.isInstance(value)) {
      throw InputException.at(
          file,
          "metadata key '"
              + key
              + "': expected "
              + type.getSimpleName()
              + ", found "
              + value.getClass().getSimpleName());
    }
    return type.cast(value);
  }

  /** As {@link #get}; an absent key is an InputException. */
  public <T> T require(String key, Class<T> type) {
    T value = get(key, type);
    if (value == null) {
      throw InputException.at(
          file, "metadata key '" + key + "' is missing" + Nearest.hint(key, values.keySet()));
    }
    return value;
  }

  /** An integer of any width; empty when the key is absent. */
  public OptionalLong integer(String key) {
    Long value = get(key, Long.class);
    return value == null ? OptionalLong.empty() : OptionalLong.of(value);
  }
}
