package org.rlhf4j.hub;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/**
 * What a file's ETag says about its content, computed as the content comes: 64 hexadecimal digits
 * are its SHA-256, 40 are the SHA-1 of the git blob, {@code SHA-1("blob " + size + "\0" +
 * content)}. Other ETags say nothing; the size alone is checked then.
 */
final class Checksum {
  private final String expected;
  private final MessageDigest digest;

  Checksum(RepoFile file) {
    expected = file.etag();
    if (expected.matches("[0-9a-f]{64}")) {
      digest = digest("SHA-256");
    } else if (expected.matches("[0-9a-f]{40}")) {
      digest = digest("SHA-1");
      digest.update(("blob " + file.size() + "\0").getBytes(StandardCharsets.US_ASCII));
    } else {
      digest = null;
    }
  }

  private static MessageDigest digest(String name) {
    try {
      return MessageDigest.getInstance(name);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  void update(byte[] bytes, int length) {
    if (digest != null) {
      digest.update(bytes, 0, length);
    }
  }

  /** Takes in the part that an earlier attempt wrote. */
  void update(Path part) throws IOException {
    byte[] buffer = new byte[1 << 16];
    try (InputStream in = Files.newInputStream(part)) {
      for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
        update(buffer, n);
      }
    }
  }

  /** The sum of all that was taken in, or the expected one where there is nothing to compare. */
  String found() {
    return digest == null ? expected : HexFormat.of().formatHex(digest.digest());
  }
}
