package org.rlhf4j.bindings;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Unpacks the native libraries of the class path into a folder of the user's cache that is named
 * after their checksums. A file there is used only if its own checksum is right; it is replaced
 * otherwise. Files appear under their names complete or not at all, so that processes may start
 * side by side.
 */
final class NativeCache {
  private static final String MANIFEST = "libraries.sha256";

  private NativeCache() {}

  /** {@code $XDG_CACHE_HOME/rlhf4j}, or {@code ~/.cache/rlhf4j}. */
  static Path defaultRoot() {
    String xdg = System.getenv("XDG_CACHE_HOME");
    Path cache =
        xdg != null && Path.of(xdg).isAbsolute()
            ? Path.of(xdg)
            : Path.of(System.getProperty("user.home"), ".cache");
    return cache.resolve("rlhf4j");
  }

  /** The folder that holds the platform's libraries, each one checked. */
  static Path unpack(ClassLoader loader, String platform, Path root) {
    String base = "org/rlhf4j/native/" + platform + "/";
    byte[] manifest = manifest(loader, base, platform);
    Path directory = root.resolve(hex(sha256().digest(manifest)));
    try {
      Files.createDirectories(directory);
      for (Map.Entry<String, String> entry : parse(manifest, base).entrySet()) {
        Path file = directory.resolve(entry.getKey());
        if (!Files.isRegularFile(file) || !checksum(file).equals(entry.getValue())) {
          unpack(loader, base + entry.getKey(), file, entry.getValue());
        }
      }
    } catch (IOException e) {
      throw NativeLibrary.linkError(
          "native library: cannot unpack it into "
              + directory
              + ": "
              + e
              + ". Set XDG_CACHE_HOME to a folder that can be written, or name a folder with the"
              + " libraries by -D"
              + NativeLibrary.DIRECTORY_PROPERTY
              + "=DIR",
          e);
    }
    return directory;
  }

  private static byte[] manifest(ClassLoader loader, String base, String platform) {
    try (InputStream in = loader.getResourceAsStream(base + MANIFEST)) {
      if (in == null) {
        throw new UnsatisfiedLinkError(
            "native library: none for the platform "
                + platform
                + ". Looked on the class path for "
                + base
                + MANIFEST
                + ", and the system property "
                + NativeLibrary.DIRECTORY_PROPERTY
                + " is not set. Put rlhf4j-bindings-VERSION-"
                + platform
                + ".jar on the class path, or build the library with native/build.sh and pass -D"
                + NativeLibrary.DIRECTORY_PROPERTY
                + "=build/cpu/lib");
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw NativeLibrary.linkError("native library: cannot read " + base + MANIFEST + ": " + e, e);
    }
  }

  /** File name to checksum, in load order. */
  private static Map<String, String> parse(byte[] manifest, String base) {
    Map<String, String> sums = new LinkedHashMap<>();
    new String(manifest, StandardCharsets.UTF_8)
        .lines()
        .forEach(
            line -> {
              if (!line.matches("[0-9a-f]{64} {2}[A-Za-z0-9._+-]+")) {
                throw new UnsatisfiedLinkError(
                    "native library: "
                        + base
                        + MANIFEST
                        + " is damaged: expected a checksum and a file name, found '"
                        + line
                        + "'");
              }
              sums.put(line.substring(66), line.substring(0, 64));
            });
    return sums;
  }

  private static void unpack(ClassLoader loader, String resource, Path file, String want)
      throws IOException {
    Path part = Files.createTempFile(file.getParent(), file.getFileName() + ".", ".part");
    try {
      MessageDigest digest = sha256();
      try (InputStream in = loader.getResourceAsStream(resource);
          OutputStream out = Files.newOutputStream(part)) {
        if (in == null) {
          throw new IOException("the class path has no " + resource);
        }
        new DigestInputStream(in, digest).transferTo(out);
      }
      String found = hex(digest.digest());
      if (!found.equals(want)) {
        throw new IOException(
            resource + " of the class path is damaged: expected SHA-256 " + want + ", is " + found);
      }
      Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } finally {
      Files.deleteIfExists(part);
    }
  }

  private static String checksum(Path file) throws IOException {
    MessageDigest digest = sha256();
    try (InputStream in = new DigestInputStream(Files.newInputStream(file), digest)) {
      in.transferTo(OutputStream.nullOutputStream());
    }
    return hex(digest.digest());
  }

  private static String hex(byte[] bytes) {
    return HexFormat.of().formatHex(bytes);
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError("every Java platform has SHA-256", e);
    }
  }
}
