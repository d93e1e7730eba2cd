package org.rlhf4j.checkpoint;

import java.util.Arrays;
import java.util.stream.Collectors;

/**
 * How elements lie in a file: a block of {@code blockElements} takes {@code blockBytes}. Plain
 * types have blocks of 1.
 */
enum StorageType {
  F64(1, 8, PlainDecoders::f64, 28),
  F32(1, 4, PlainDecoders::f32, 0),
  F16(1, 2, PlainDecoders::f16, 1),
  BF16(1, 2, PlainDecoders::bf16, 30),
  I64(1, 8, PlainDecoders::i64, 27),
  I32(1, 4, PlainDecoders::i32, 26),
  I16(1, 2, PlainDecoders::i16, 25),
  I8(1, 1, PlainDecoders::i8, 24),
  U8(1, 1, PlainDecoders::u8, -1),
  BOOL(1, 1, PlainDecoders::u8, -1),
  Q4_0(32, 18, BlockQuants::q4v0, 2),
  Q4_1(32, 20, BlockQuants::q4v1, 3),
  Q5_0(32, 22, BlockQuants::q5v0, 6),
  Q5_1(32, 24, BlockQuants::q5v1, 7),
  Q8_0(32, 34, BlockQuants::q8v0, 8),
  Q2_K(256, 84, SuperBlockQuants::q2k, 10),
  Q3_K(256, 110, SuperBlockQuants::q3k, 11),
  Q4_K(256, 144, SuperBlockQuants::q4k, 12),
  Q5_K(256, 176, SuperBlockQuants::q5k, 13),
  Q6_K(256, 210, SuperBlockQuants::q6k, 14);

  final int blockElements;
  final int blockBytes;
  final BlockDecoder decoder;

  /** The number in a GGUF file's tensor table; -1: GGUF has no such type. */
  final int ggufId;

  StorageType(int blockElements, int blockBytes, BlockDecoder decoder, int ggufId) {
    this.blockElements = blockElements;
    this.blockBytes = blockBytes;
    this.decoder = decoder;
    this.ggufId = ggufId;
  }

  boolean isSafetensors() {
    return blockElements == 1;
  }

  /** The type of that name in a safetensors header, or null. */
  static StorageType ofSafetensors(String name) {
    return Arrays.stream(values())
        .filter(t -> t.isSafetensors() && t.name().equals(name))
        .findFirst()
        .orElse(null);
  }

  /** The type of that number in a GGUF file, or null. */
  static StorageType ofGguf(int id) {
    return Arrays.stream(values()).filter(t -> t.ggufId == id && id >= 0).findFirst().orElse(null);
  }

  static String supportedSafetensors() {
    return Arrays.stream(values())
        .filter(StorageType::isSafetensors)
        .map(Enum::name)
        .collect(Collectors.joining(", "));
  }

  static String supportedGguf() {
    return Arrays.stream(values())
        .filter(t -> t.ggufId >= 0)
        .map(Enum::name)
        .collect(Collectors.joining(", "));
  }
}
