package org.rlhf4j.data;

import java.util.AbstractList;
import java.util.Arrays;
import java.util.RandomAccess;

/**
 * Records kept as ints, one behind the other, and made anew each time one is asked for: a record
 * costs its tokens (4 bytes each) and about 30 bytes, and beyond a quarter of a gibibyte of tokens
 * the operating system may keep them on disk.
 */
final class TokenisedList<T> extends AbstractList<T> implements RandomAccess {
  /** 256 MiB. */
  private static final long HEAP_INTS = 1L << 26;

  /** How a record becomes ints and comes back. */
  interface Form<T> {
    void write(T value, Writer to);

    T read(Reader from);
  }

  private final Form<T> form;
  private final IntStore ints;
  private long[] starts = new long[1024];
  private int size;

  TokenisedList(Form<T> form) {
    this(form, HEAP_INTS);
  }

  TokenisedList(Form<T> form, long heapInts) {
    this.form = form;
    this.ints = new IntStore(heapInts);
  }

  @Override
  public boolean add(T value) {
    if (size == starts.length) {
      starts = Arrays.copyOf(starts, size + (size >> 1));
    }
    starts[size++] = ints.size();
    form.write(value, new Writer(ints));
    return true;
  }

  @Override
  public T get(int index) {
    if (index < 0 || index >= size) {
      throw new IndexOutOfBoundsException(index);
    }
    return form.read(new Reader(ints, starts[index]));
  }

  @Override
  public int size() {
    return size;
  }

  /** Appends the parts of a record. */
  record Writer(IntStore ints) {
    void number(int value) {
      ints.append(value);
    }

    void wide(long value) {
      ints.append((int) value);
      ints.append((int) (value >>> 32));
    }

    void list(int[] values, int from) {
      ints.append(values.length - from);
      ints.append(values, from, values.length);
    }
  }

  /** Reads the parts of a record in the order in which they were written. */
  static final class Reader {
    private final IntStore ints;
    private long at;

    Reader(IntStore ints, long at) {
      this.ints = ints;
      this.at = at;
    }

    int number() {
      return ints.get(at++);
    }

    long wide() {
      return Integer.toUnsignedLong(number()) | (long) number() << 32;
    }

    /** The start of {@code head}, {@code shared} long, and the list behind it. */
    int[] list(int[] head, int shared) {
      int[] values = Arrays.copyOf(head, shared + number());
      ints.get(at, values, shared);
      at += values.length - shared;
      return values;
    }

    int[] list() {
      return list(new int[0], 0);
    }
  }
}
