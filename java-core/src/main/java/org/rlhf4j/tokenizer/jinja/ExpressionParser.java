package org.rlhf4j.tokenizer.jinja;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Reads the expressions of one tag, by Jinja2's precedence. */
class ExpressionParser {
  private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", "<=", ">", ">=");

  /** Deeper than any template nests, and far from the end of the stack. */
  private static final int DEEPEST = 200;

  private final List<Token> tokens;
  private int at;
  private int depth;

  ExpressionParser(String text) {
    tokens = Token.read(text);
  }

  // Words

  Token peek() {
    return tokens.get(at);
  }

  Token next() {
    Token token = tokens.get(at);
    if (token.kind() != Token.Kind.END) {
      at++;
    }
    return token;
  }

  boolean atEnd() {
    return peek().kind() == Token.Kind.END;
  }

  boolean is(String word) {
    return is(at, word);
  }

  private boolean is(int index, String word) {
    Token token = tokens.get(Math.min(index, tokens.size() - 1));
    return (token.kind() == Token.Kind.NAME || token.kind() == Token.Kind.OPERATOR)
        && token.text().equals(word);
  }

  boolean accept(String word) {
    if (is(word)) {
      at++;
      return true;
    }
    return false;
  }

  void expect(String word) {
    if (!accept(word)) {
      throw new JinjaException("expected '" + word + "', found " + peek().text());
    }
  }

  String name() {
    if (peek().kind() != Token.Kind.NAME) {
      throw new JinjaException("expected a name, found " + peek().text());
    }
    return next().text();
  }

  void end() {
    if (!atEnd()) {
      throw new JinjaException("unexpected '" + peek().text() + "'");
    }
  }

  // Expressions

  Expression expression() {
    if (++depth > DEEPEST) {
      throw new JinjaException("an expression is nested too deeply");
    }
    Expression result = or();
    while (accept("if")) {
      Expression yes = result;
      Expression condition = or();
      Expression no =
          accept("else")
              ? expression()
              : s ->
                  new Undefined(
                      "the inline if-expression evaluated to false and no else section was"
                          + " defined.");
      result = s -> Values.truth(condition.value(s)) ? yes.value(s) : no.value(s);
    }
    depth--;
    return result;
  }

  /** An expression, or several with commas, which are a tuple. */
  Expression tuple() {
    Expression first = expression();
    if (!is(",")) {
      return first;
    }
    List<Expression> all = new ArrayList<>(List.of(first));
    while (accept(",") && !atEnd() && !is(")") && !is("=")) {
      all.add(expression());
    }
    return tuple(all);
  }

  private static Expression tuple(List<Expression> all) {
    return s -> {
      List<Object> values = new Values.Tuple();
      all.forEach(e -> values.add(e.value(s)));
      return values;
    };
  }

  private static Expression list(List<Expression> all) {
    return s -> {
      List<Object> values = new ArrayList<>(all.size());
      all.forEach(e -> values.add(e.value(s)));
      return values;
    };
  }

  /** An expression without {@code if … else}: what a loop goes over may be followed by an if. */
  Expression or() {
    Expression left = and();
    while (accept("or")) {
      Expression a = left;
      Expression b = and();
      left =
          s -> {
            Object value = a.value(s);
            return Values.truth(value) ? value : b.value(s);
          };
    }
    return left;
  }

  private Expression and() {
    Expression left = not();
    while (accept("and")) {
      Expression a = left;
      Expression b = not();
      left =
          s -> {
            Object value = a.value(s);
            return Values.truth(value) ? b.value(s) : value;
          };
    }
    return left;
  }

  private Expression not() {
    if (accept("not")) {
      Expression e = not();
      return s -> !Values.truth(e.value(s));
    }
    return comparison();
  }

  /** {@code a < b < c} means {@code a < b and b < c}. */
  private Expression comparison() {
    Expression first = sum();
    List<String> operators = new ArrayList<>();
    List<Expression> others = new ArrayList<>();
    while (true) {
      if (peek().kind() == Token.Kind.OPERATOR && COMPARISONS.contains(peek().text())) {
        operators.add(next().text());
      } else if (accept("in")) {
        operators.add("in");
      } else if (is("not") && is(at + 1, "in")) {
        at += 2;
        operators.add("not in");
      } else {
        break;
      }
      others.add(sum());
    }
    if (operators.isEmpty()) {
      return first;
    }
    return s -> {
      Object left = first.value(s);
      for (int i = 0; i < operators.size(); i++) {
        Object right = others.get(i).value(s);
        if (!compare(operators.get(i), left, right)) {
          return false;
        }
        left = right;
      }
      return true;
    };
  }

  private static boolean compare(String operator, Object a, Object b) {
    return switch (operator) {
      case "==" -> Values.equal(a, b);
      case "!=" -> !Values.equal(a, b);
      case "<" -> Values.compare(a, b) < 0;
      case "<=" -> Values.compare(a, b) <= 0;
      case ">" -> Values.compare(a, b) > 0;
      case ">=" -> Values.compare(a, b) >= 0;
      case "in" -> Values.contains(b, a);
      default -> !Values.contains(b, a);
    };
  }

  private Expression sum() {
    Expression left = concatenation();
    while (is("+") || is("-")) {
      left = arithmetic(next().text(), left, concatenation());
    }
    return left;
  }

  private static Expression arithmetic(String operator, Expression a, Expression b) {
    return s -> Values.arithmetic(operator, a.value(s), b.value(s));
  }

  private Expression concatenation() {
    Expression left = product();
    while (accept("~")) {
      Expression a = left;
      Expression b = product();
      left = s -> Values.text(a.value(s)) + Values.text(b.value(s));
    }
    return left;
  }

  private Expression product() {
    Expression left = power();
    while (is("*") || is("/") || is("//") || is("%")) {
      left = arithmetic(next().text(), left, power());
    }
    return left;
  }

  private Expression power() {
    Expression left = unary(true);
    while (accept("**")) {
      left = arithmetic("**", left, unary(true));
    }
    return left;
  }

  private Expression unary(boolean withFilters) {
    Expression result;
    if (accept("-")) {
      Expression e = unary(false);
      result = s -> Values.arithmetic("-", 0L, e.value(s));
    } else if (accept("+")) {
      result = unary(false);
    } else {
      result = postfix(primary());
    }
    return withFilters ? filters(result) : result;
  }

  private Expression primary() {
    Token token = next();
    switch (token.kind()) {
      case STRING -> {
        StringBuilder text = new StringBuilder((String) token.value());
        while (peek().kind() == Token.Kind.STRING) {
          text.append(next().value());
        }
        String all = text.toString();
        return s -> all;
      }
      case NUMBER -> {
        return s -> token.value();
      }
      case NAME -> {
        return switch (token.text()) {
          case "true", "True" -> s -> true;
          case "false", "False" -> s -> false;
          case "none", "None" -> s -> null;
          default -> s -> s.get(token.text());
        };
      }
      case OPERATOR -> {
        switch (token.text()) {
          case "(" -> {
            if (accept(")")) {
              return tuple(List.of());
            }
            Expression inside = tuple();
            expect(")");
            return inside;
          }
          case "[" -> {
            return list(items("]"));
          }
          case "{" -> {
            return dict();
          }
          default -> {}
        }
      }
      case END -> {}
    }
    throw new JinjaException("unexpected '" + token.text() + "'");
  }

  private List<Expression> items(String close) {
    List<Expression> items = new ArrayList<>();
    while (!accept(close)) {
      items.add(expression());
      if (!is(close)) {
        expect(",");
      }
    }
    return items;
  }

  private Expression dict() {
    List<Expression> keys = new ArrayList<>();
    List<Expression> values = new ArrayList<>();
    while (!accept("}")) {
      keys.add(expression());
      expect(":");
      values.add(expression());
      if (!is("}")) {
        expect(",");
      }
    }
    return s -> {
      Map<Object, Object> map = new LinkedHashMap<>();
      for (int i = 0; i < keys.size(); i++) {
        map.put(keys.get(i).value(s), values.get(i).value(s));
      }
      return map;
    };
  }

  private Expression postfix(Expression base) {
    while (true) {
      Expression of = base;
      if (accept(".")) {
        if (peek().kind() == Token.Kind.NUMBER) {
          Object index = next().value();
          base = s -> Values.item(of.value(s), index);
        } else {
          String name = name();
          base = s -> Values.attribute(of.value(s), name);
        }
      } else if (accept("[")) {
        base = subscript(of);
      } else if (is("(")) {
        base = call(of);
      } else {
        return base;
      }
    }
  }

  private Expression subscript(Expression of) {
    Expression[] parts = new Expression[3];
    int part = 0;
    boolean slice = false;
    while (!accept("]")) {
      if (accept(":")) {
        slice = true;
        if (++part > 2) {
          throw new JinjaException("unexpected ':'");
        }
      } else {
        parts[part] = expression();
      }
    }
    if (slice) {
      return s ->
          Values.slice(of.value(s), part(parts[0], s), part(parts[1], s), part(parts[2], s));
    }
    if (parts[0] == null) {
      throw new JinjaException("expected an index, found ']'");
    }
    return s -> Values.item(of.value(s), parts[0].value(s));
  }

  private static Object part(Expression expression, Scope scope) {
    return expression == null ? null : expression.value(scope);
  }

  /** Arguments of a call, by place and by name. */
  private record Call(List<Expression> placed, Map<String, Expression> named) {
    List<Object> places(Scope s) {
      List<Object> values = new ArrayList<>();
      placed.forEach(e -> values.add(e.value(s)));
      return values;
    }

    Map<String, Object> names(Scope s) {
      Map<String, Object> values = new LinkedHashMap<>();
      named.forEach((name, e) -> values.put(name, e.value(s)));
      return values;
    }
  }

  private Call arguments() {
    Call call = new Call(new ArrayList<>(), new LinkedHashMap<>());
    if (!accept("(")) {
      return call;
    }
    while (!accept(")")) {
      if (peek().kind() == Token.Kind.NAME && is(at + 1, "=")) {
        String name = name();
        expect("=");
        call.named.put(name, expression());
      } else {
        call.placed.add(expression());
      }
      if (!is(")")) {
        expect(",");
      }
    }
    return call;
  }

  private Expression call(Expression of) {
    Call call = arguments();
    return s -> {
      Object function = of.value(s);
      if (function instanceof Undefined u) {
        throw u.fault();
      }
      if (!(function instanceof Function f)) {
        throw new JinjaException("'" + Values.type(function) + "' object is not callable");
      }
      try {
        return f.call(call.places(s), call.names(s));
      } catch (IndexOutOfBoundsException | NullPointerException e) {
        throw new JinjaException("an argument of a call is missing");
      }
    };
  }

  /** {@code |filter}, {@code is test} and calls, as long as there are some. */
  Expression filters(Expression base) {
    while (true) {
      Expression of = base;
      if (accept("|")) {
        base = filter(of);
      } else if (accept("is")) {
        base = test(of);
      } else if (is("(")) {
        base = call(of);
      } else {
        return base;
      }
    }
  }

  /** A filter's name and arguments, behind the bar. */
  Expression filter(Expression of) {
    Filters.Filter filter = Filters.named(name());
    Call call = arguments();
    return s -> filter.apply(of.value(s), new Filters.Arguments(call.places(s), call.names(s)));
  }

  private Expression test(Expression of) {
    boolean negated = accept("not");
    Tests.Test test = Tests.named(next().text());
    List<Expression> arguments = new ArrayList<>();
    if (is("(")) {
      arguments.addAll(arguments().placed);
    } else if (beginsArgument()) {
      arguments.add(postfix(primary()));
    }
    return s -> {
      List<Object> values = new ArrayList<>();
      arguments.forEach(e -> values.add(e.value(s)));
      return test.holds(of.value(s), values) != negated;
    };
  }

  /** A test's one argument may stand without brackets: {@code is divisibleby 3}. */
  private boolean beginsArgument() {
    return switch (peek().kind()) {
      case STRING, NUMBER -> true;
      case NAME -> !Set.of("else", "or", "and", "is", "if", "in", "not").contains(peek().text());
      case OPERATOR -> is("[") || is("{");
      case END -> false;
    };
  }
}
