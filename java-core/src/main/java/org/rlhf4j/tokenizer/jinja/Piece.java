package org.rlhf4j.tokenizer.jinja;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A piece of a template: text ({@code 't'}), or the inside of an expression ({@code '{'}) or a
 * statement ({@code '%'}).
 *
 * @param line where it begins, from 1
 */
record Piece(char kind, String text, int line) {
  private static final Pattern OPEN = Pattern.compile("\\{\\{|\\{%|\\{#");
  private static final Pattern RAW_END = Pattern.compile("\\{%([-+]?)\\s*endraw\\s*([-+]?)%\\}");
  private static final Pattern LSTRIP = Pattern.compile("(?:^|(?<=\n))[ \t\r\u000b\f]*\\z");

  /** A tag as found, with its whitespace marks: ' ', '-' or '+'. */
  private record Tag(char kind, String text, int line, char before, char after) {}

  /**
   * Splits a template, with whitespace control applied: {@code -} and {@code +}, trim_blocks,
   * lstrip_blocks, and the final newline, which goes. Comments are left out.
   */
  static List<Piece> split(String source) {
    String all = source.replace("\r\n", "\n").replace('\r', '\n');
    all = all.endsWith("\n") ? all.substring(0, all.length() - 1) : all;
    List<Tag> tags = tags(all);
    List<Piece> pieces = new ArrayList<>();
    for (int i = 0; i < tags.size(); i++) {
      Tag tag = tags.get(i);
      if (tag.kind == 't') {
        Tag left = i > 0 ? tags.get(i - 1) : null;
        Tag right = i + 1 < tags.size() ? tags.get(i + 1) : null;
        pieces.add(new Piece('t', strip(tag.text, left, right), tag.line));
      } else if (tag.kind == 'r') {
        pieces.add(new Piece('t', tag.text, tag.line));
      } else if (tag.kind != '#') {
        pieces.add(new Piece(tag.kind, tag.text, tag.line));
      }
    }
    return pieces;
  }

  /** Text and tags in turn; a text, if only an empty one, stands between any two tags. */
  private static List<Tag> tags(String source) {
    List<Tag> tags = new ArrayList<>();
    Matcher open = OPEN.matcher(source);
    int at = 0;
    int line = 1;
    while (open.find(at)) {
      String text = source.substring(at, open.start());
      tags.add(new Tag('t', text, line, ' ', ' '));
      line += lines(text);
      char kind = source.charAt(open.start() + 1);
      String close = kind == '{' ? "}}" : kind + "}";
      int end =
          kind == '#' ? source.indexOf(close, open.end()) : closing(source, open.end(), close);
      if (end < 0) {
        throw new JinjaException(
            "line " + line + ": '" + open.group() + "' without '" + close + "'");
      }
      String inside = source.substring(open.end(), end);
      char before = mark(inside, 0, kind);
      char after = inside.length() < 2 ? ' ' : mark(inside, inside.length() - 1, kind);
      String bare =
          inside.substring(before == ' ' ? 0 : 1, inside.length() - (after == ' ' ? 0 : 1));
      at = end + 2;
      if (kind == '%' && bare.strip().equals("raw")) {
        Matcher rawEnd = RAW_END.matcher(source);
        if (!rawEnd.find(at)) {
          throw new JinjaException("line " + line + ": 'raw' without 'endraw'");
        }
        Tag begin = new Tag('%', "", line, before, after);
        Tag done = new Tag('%', "", line, markOf(rawEnd, 1), markOf(rawEnd, 2));
        String raw = strip(source.substring(at, rawEnd.start()), begin, done);
        tags.add(new Tag('r', raw, line, before, done.after));
        line += lines(source.substring(open.start(), rawEnd.end()));
        at = rawEnd.end();
      } else {
        tags.add(new Tag(kind, bare, line, before, after));
        line += lines(inside);
      }
    }
    tags.add(new Tag('t', source.substring(at), line, ' ', ' '));
    return tags;
  }

  private static int lines(String text) {
    return (int) text.chars().filter(c -> c == '\n').count();
  }

  private static char mark(String inside, int at, char kind) {
    char c = inside.isEmpty() ? ' ' : inside.charAt(at);
    return c == '-' || c == '+' && kind != '{' ? c : ' ';
  }

  private static char markOf(Matcher matcher, int group) {
    return matcher.group(group).isEmpty() ? ' ' : matcher.group(group).charAt(0);
  }

  /** Where a tag ends: the first {@code close} outside of string literals and brackets. */
  private static int closing(String source, int from, String close) {
    int depth = 0;
    for (int i = from; i < source.length(); i++) {
      char c = source.charAt(i);
      if (c == '\'' || c == '"') {
        i = stringEnd(source, i);
        if (i < 0) {
          return -1;
        }
      } else if (depth == 0 && source.startsWith(close, i)) {
        return i;
      } else if (c == '(' || c == '[' || c == '{') {
        depth++;
      } else if ((c == ')' || c == ']' || c == '}') && depth > 0) {
        depth--;
      }
    }
    return -1;
  }

  /** The index of the quote that ends the literal which starts at {@code start}; -1: none does. */
  static int stringEnd(String source, int start) {
    for (int i = start + 1; i < source.length(); i++) {
      if (source.charAt(i) == '\\') {
        i++;
      } else if (source.charAt(i) == source.charAt(start)) {
        return i;
      }
    }
    return -1;
  }

  /** The text between two tags, after the whitespace control of both. */
  private static String strip(String text, Tag left, Tag right) {
    boolean startsLine = left == null;
    if (left != null && left.after == '-') {
      text = Text.lstrip(text, null);
    } else if (left != null && left.kind != '{' && left.after != '+' && text.startsWith("\n")) {
      text = text.substring(1); // trim_blocks
      startsLine = true;
    }
    if (right != null && right.before == '-') {
      text = Text.rstrip(text, null);
    } else if (right != null && right.kind != '{' && right.before != '+') {
      // lstrip_blocks: only where the tag is the first thing on its line
      Matcher spaces = LSTRIP.matcher(text);
      if (spaces.find() && (spaces.start() > 0 || startsLine)) {
        text = text.substring(0, spaces.start());
      }
    }
    return text;
  }
}
