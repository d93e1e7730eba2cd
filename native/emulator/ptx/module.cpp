// A lexer and a parser by recursive descent.
#include "emulator/ptx/module.h"

#include <cctype>
#include <cstdlib>
#include <cstring>

namespace rl::emulator::ptx {
namespace {

struct Token {
  std::string text;
  int line;
  const char *begin, *end;
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_$%.", c); }

std::vector<Token> tokens_of(const char *p) {
  std::vector<Token> tokens;
  int line = 1;
  while (*p) {
    const char *begin = p;
    if (*p == '\n') {
      line++;
      p++;
    } else if (std::isspace(static_cast<unsigned char>(*p))) {
      p++;
    } else if (p[0] == '/' && p[1] == '/') {
      while (*p && *p != '\n') p++;
    } else if (p[0] == '/' && p[1] == '*') {
      while (*p && !(p[0] == '*' && p[1] == '/')) line += *p++ == '\n';
      if (*p) p += 2;
    } else {
      if (*p == '"') {
        for (p++; *p && *p != '"'; p++) {
        }
        if (*p) p++;
      } else if (is_word(*p)) {
        // "L1::no_allocate" is one word, and so is the ".4" of a version
        while (is_word(*p) || (p[0] == ':' && p[1] == ':')) p += *p == ':' ? 2 : 1;
      } else {
        p++;
      }
      tokens.push_back({std::string(begin, p), line, begin, p});
    }
  }
  tokens.push_back({"", line, p, p});
  return tokens;
}

class Parser {
 public:
  explicit Parser(const char *text) : tokens_(tokens_of(text)) {}

  Module module() {
    while (!at("")) {
      if (at(".version") || at(".address_size") || at(".file")) {
        skip_line();
      } else if (accept(".target")) {
        module_.target = next();
        skip_rest_of_line();
      } else if (accept(".section")) {
        while (!at("{") && !at("")) next();
        skip_braces();
      } else if (accept(".visible") || accept(".extern") || accept(".weak") || accept(".common")) {
      } else if (at(".entry") || at(".func")) {
        function();
      } else if (auto found = space_of(peek().text); found != Space::generic) {
        next();
        module_.variables.push_back(variable(found));
        expect(";");
      } else {
        fail("expected a declaration");
      }
    }
    return std::move(module_);
  }

 private:
  const Token &peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  bool at(const char *text) const { return peek().text == text; }
  std::string next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_].text; }
  bool accept(const char *text) {
    if (!at(text)) return false;
    next();
    return true;
  }
  void expect(const char *text) {
    if (!accept(text)) fail(std::string("expected '") + text + "'");
  }
  [[noreturn]] void fail(const std::string &what) const {
    throw Error((function_ ? function_->name + ": " : "") + "line " + std::to_string(peek().line) + ": " + what +
                ", found '" + peek().text + "'");
  }
  void skip_rest_of_line() {
    const int line = tokens_[at_ - 1].line;
    while (!at("") && peek().line == line) next();
  }
  void skip_line() {
    next();
    skip_rest_of_line();
  }
  void skip_braces() {
    int depth = 0;
    do {
      if (at("")) fail("expected '}'");
      depth += at("{") ? 1 : at("}") ? -1 : 0;
      next();
    } while (depth > 0);
  }

  static Space space_of(const std::string &word) {
    if (word == ".shared") return Space::shared;
    if (word == ".global") return Space::global;
    if (word == ".const") return Space::constant;
    if (word == ".local") return Space::local;
    if (word == ".param") return Space::param;
    return Space::generic;
  }

  uint64_t number() {
    const bool minus = accept("-");
    const std::string text = next();
    if (text.size() == 10 && (text[1] == 'f' || text[1] == 'F')) return std::strtoull(text.c_str() + 2, nullptr, 16);
    if (text.size() == 18 && (text[1] == 'd' || text[1] == 'D')) return std::strtoull(text.c_str() + 2, nullptr, 16);
    char *end = nullptr;
    const uint64_t value = std::strtoull(text.c_str(), &end, 0);
    if (end == text.c_str() || (*end && std::strcmp(end, "U"))) fail("expected a number instead of " + text);
    return minus ? -value : value;
  }

  /// After the space: [.align n] .type name [n] [= values]
  Variable variable(Space space) {
    Variable v;
    v.space = space;
    v.align = accept(".align") ? number() : 0;
    const Type type = type_named(next().substr(1));
    if (type == Type::none) fail("expected a type");
    const size_t size = static_cast<size_t>(bytes_of(type));
    v.align = v.align ? v.align : size;
    v.name = next();
    size_t count = 1;
    while (accept("[")) {
      count *= at("]") ? 0 : number();  // [] is the dynamic shared memory
      expect("]");
    }
    v.bytes = size * count;
    if (accept("=")) {
      v.values.resize(v.bytes);
      const bool list = accept("{");
      size_t at = 0;
      do {
        const uint64_t value = number();
        if (at + size > v.bytes) fail("too many values");
        std::memcpy(&v.values[at], &value, size);
        at += size;
      } while (list && accept(","));
      if (list) expect("}");
    }
    return v;
  }

  std::vector<Variable> parameters() {
    std::vector<Variable> found;
    expect("(");
    while (!accept(")")) {
      if (!accept(".param")) fail("expected a parameter");
      found.push_back(variable(Space::param));
      accept(",");
    }
    return found;
  }

  void function() {
    Function f;
    function_ = &f;
    f.entry = next() == ".entry";
    if (!f.entry && at("(")) f.results = parameters();
    f.name = next();
    if (at("(")) f.parameters = parameters();
    while (!at("{") && !at(";")) {
      if (accept(".maxntid")) {
        f.most_threads = 1;
        do f.most_threads *= static_cast<int>(number());
        while (accept(","));
      } else if (accept(".minnctapersm") || accept(".reqntid") || accept(".maxnreg")) {
        do number();
        while (accept(","));
      } else if (!accept(".noreturn")) {
        fail("unknown directive");
      }
    }
    if (!accept(";")) {
      expect("{");
      scopes_.assign(1, {});
      while (!scopes_.empty()) statement();
      module_.functions.push_back(std::move(f));
    }
    function_ = nullptr;
  }

  void statement() {
    Function &f = *function_;
    if (accept("{")) {
      scopes_.emplace_back();
    } else if (accept("}")) {
      scopes_.pop_back();
    } else if (accept(";")) {
    } else if (at(".loc")) {
      skip_line();
    } else if (accept(".pragma")) {
      while (!accept(";")) next();
    } else if (accept(".reg")) {
      registers();
    } else if (const Space space = space_of(peek().text); space != Space::generic) {
      next();
      f.variables.push_back(variable(space));
      expect(";");
    } else if (peek(1).text == ":") {
      f.labels[next()] = f.code.size();
      next();
    } else {
      instruction();
    }
  }

  void registers() {
    const Type type = type_named(next().substr(1));
    if (type == Type::none) fail("expected a type");
    do {
      const std::string name = next();
      uint64_t count = 0;
      const bool many = accept("<");
      if (many) {
        count = number();
        expect(">");
      }
      for (uint64_t i = 0; i < (many ? count : 1); i++) {
        scopes_.back()[many ? name + std::to_string(i) : name] = static_cast<int>(function_->registers.size());
        function_->registers.push_back(type);
      }
    } while (accept(","));
    expect(";");
  }

  int find_register(const std::string &name) const {
    for (size_t i = scopes_.size(); i-- > 0;) {
      const auto found = scopes_[i].find(name);
      if (found != scopes_[i].end()) return found->second;
    }
    return -1;
  }

  std::vector<Operand> operands(const char *end) {
    std::vector<Operand> found;
    while (!accept(end)) {
      found.push_back(operand());
      if (!at(end)) expect(",");
    }
    return found;
  }

  Operand operand() {
    Operand o;
    if (accept("{") || at("(")) {
      const bool call = accept("(");
      o.kind = Operand::list;
      o.items = operands(call ? ")" : "}");
    } else if (accept("[")) {
      o.kind = Operand::address;
      if (std::isdigit(static_cast<unsigned char>(peek().text[0]))) {
        o.value = number();
      } else {
        o.name = next();
        o.index = find_register(o.name);
        if (o.index >= 0) o.name.clear();
      }
      offset(o);
      expect("]");
    } else if (at("-") || std::isdigit(static_cast<unsigned char>(peek().text[0]))) {
      o.kind = Operand::number;
      o.value = number();
    } else {
      o.negated = accept("!");
      o.name = next();
      o.index = find_register(o.name);
      o.kind = o.name == "_"      ? Operand::nothing
               : o.index >= 0     ? Operand::reg
               : o.name[0] == '%' ? Operand::special
                                  : Operand::symbol;
      if (accept("|")) {
        const std::string second = next();
        o.second = find_register(second);
        if (o.second < 0) fail("unknown register " + second);
      }
      if (o.kind == Operand::symbol) offset(o);
    }
    return o;
  }

  void offset(Operand &o) {
    if (accept("+")) o.value += number();
    if (at("-")) o.value += number();
  }

  void instruction() {
    Instruction in;
    const Token &first = peek();
    in.line = first.line;
    if (accept("@")) {
      in.guard_not = accept("!");
      const std::string name = next();
      in.guard = find_register(name);
      if (in.guard < 0) fail("unknown register " + name);
    }
    const std::string opcode = next();
    for (size_t at = 0; at <= opcode.size();) {
      const size_t dot = std::min(opcode.find('.', at), opcode.size());
      in.words.push_back(opcode.substr(at, dot - at));
      at = dot + 1;
    }
    while (!at(";") && !at("")) {
      in.operands.push_back(operand());
      if (!at(";")) expect(",");
    }
    in.text.assign(first.begin, peek().begin);
    for (char &c : in.text) c = std::isspace(static_cast<unsigned char>(c)) ? ' ' : c;
    expect(";");
    function_->code.push_back(std::move(in));
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  Module module_;
  Function *function_ = nullptr;
  std::vector<std::map<std::string, int>> scopes_;  // of the function's body and of the braces that are open in it
};

}  // namespace

Type type_named(const std::string &name) {
  static const std::map<std::string, Type> types = {
      {"pred", Type::pred}, {"b8", Type::u8},   {"b16", Type::u16},   {"b32", Type::u32},     {"b64", Type::u64},
      {"u8", Type::u8},     {"u16", Type::u16}, {"u32", Type::u32},   {"u64", Type::u64},     {"s8", Type::s8},
      {"s16", Type::s16},   {"s32", Type::s32}, {"s64", Type::s64},   {"f16", Type::f16},     {"bf16", Type::bf16},
      {"f32", Type::f32},   {"f64", Type::f64}, {"tf32", Type::tf32}, {"f16x2", Type::f16x2}, {"bf16x2", Type::bf16x2}};
  const auto found = types.find(name);
  return found == types.end() ? Type::none : found->second;
}

int bytes_of(Type type) {
  switch (type) {
    case Type::u8:
    case Type::s8:
      return 1;
    case Type::u16:
    case Type::s16:
    case Type::f16:
    case Type::bf16:
      return 2;
    case Type::u64:
    case Type::s64:
    case Type::f64:
      return 8;
    default:
      return 4;
  }
}

Module parse(const char *text) { return Parser(text).module(); }

}  // namespace rl::emulator::ptx
