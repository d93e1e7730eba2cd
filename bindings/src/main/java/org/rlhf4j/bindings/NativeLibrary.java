package org.rlhf4j.bindings;

final class NativeLibrary {
  private NativeLibrary() {}

  static void load() {
    System.load(java.nio.file.Path.of(System.getProperty("rlhf4j.native.dir"), "librlhf4j.so").toString());
  }
}
