extension Template {
  /// Statements of a template; expressions are in `TemplateParser+Expressions.swift`.
  struct Parser {
    /// Statements, and parts of an expression, within each other.
    static let depthLimit = 64
    /// Parts of an expression within each other, those of a chain such as `a + b + c` counted one by one.
    static let heightLimit = 160

    private let tokens: [(token: Token, line: Int)]
    private var position = 0
    private var depth = 0
    private var height = 0
    private var loops = 0

    static func parse(_ source: String) throws(ChatTemplateError) -> [Statement] {
      var parser = Parser(tokens: try Lexer.tokens(source))
      return try parser.statements(until: [])
    }

    private init(tokens: [(token: Token, line: Int)]) { self.tokens = tokens }

    // MARK: Tokens

    var token: Token { tokens[position].token }
    var line: Int { tokens[position].line }
    var following: Token { position + 1 < tokens.count ? tokens[position + 1].token : .end }

    mutating func advance() { if position + 1 < tokens.count { position += 1 } }

    mutating func take(_ symbol: String) -> Bool {
      guard token == .symbol(symbol) else { return false }
      advance()
      return true
    }

    mutating func take(word: String) -> Bool {
      guard token == .name(word) else { return false }
      advance()
      return true
    }

    mutating func expect(_ expected: Token, _ text: String) throws(ChatTemplateError) {
      guard token == expected else { throw fault("\(text) is expected, not \(found)") }
      advance()
    }

    mutating func name() throws(ChatTemplateError) -> String {
      guard case .name(let name) = token else { throw fault("a name is expected, not \(found)") }
      advance()
      return name
    }

    func fault(_ reason: String) -> ChatTemplateError { .syntax(line: line, reason: reason) }

    var found: String {
      switch token {
      case .text: "text"
      case .blockBegin: "{%"
      case .blockEnd: "the end of the statement"
      case .variableBegin: "{{"
      case .variableEnd: "the end of the expression"
      case .name(let name): name
      case .string: "a string"
      case .integer, .number: "a number"
      case .symbol(let symbol): symbol
      case .end: "the end of the template"
      }
    }

    mutating func deeper<T>(
      _ body: (inout Parser) throws(ChatTemplateError) -> T
    ) throws(ChatTemplateError) -> T {
      depth += 1
      height += 1
      guard depth <= Self.depthLimit else { throw .tooDeep(line: line, limit: Self.depthLimit) }
      guard height <= Self.heightLimit else { throw .tooDeep(line: line, limit: Self.heightLimit) }
      let result = try body(&self)
      depth -= 1
      height -= 1
      return result
    }

    /// Runs what may call `longer` for each link of a chain.
    mutating func chain<T>(
      _ body: (inout Parser) throws(ChatTemplateError) -> T
    ) throws(ChatTemplateError) -> T {
      let outer = height
      let result = try body(&self)
      height = outer
      return result
    }

    mutating func longer() throws(ChatTemplateError) {
      height += 1
      guard height <= Self.heightLimit else { throw .tooDeep(line: line, limit: Self.heightLimit) }
    }

    // MARK: Statements

    /// Statements up to a block that begins with one of the words, which is left standing after its `{%`.
    private mutating func statements(until ends: [String]) throws(ChatTemplateError) -> [Statement] {
      try deeper { (parser) throws(ChatTemplateError) in
        var result: [Statement] = []
        while true {
          let line = parser.line
          switch parser.token {
          case .text(let text):
            parser.advance()
            result.append(Statement(line: line, kind: .text(text)))
          case .variableBegin:
            parser.advance()
            let expression = try parser.tupleOrExpression()
            try parser.expect(.variableEnd, "}}")
            result.append(Statement(line: line, kind: .output(expression)))
          case .blockBegin:
            parser.advance()
            guard case .name(let word) = parser.token else {
              throw parser.fault("a statement is expected, not \(parser.found)")
            }
            if ends.contains(word) { return result }
            parser.advance()
            result.append(Statement(line: line, kind: try parser.statement(word, line: line)))
          case .end:
            guard ends.isEmpty else { throw parser.fault("\(ends.joined(separator: " or ")) is missing") }
            return result
          default: throw parser.fault("\(parser.found) is not expected")
          }
        }
      }
    }

    /// The statements of a block up to its end, which is taken too.
    private mutating func block(_ end: String) throws(ChatTemplateError) -> [Statement] {
      try endBlock()
      let body = try statements(until: [end])
      advance()
      try endBlock()
      return body
    }

    private mutating func endBlock() throws(ChatTemplateError) { try expect(.blockEnd, "%}") }

    private mutating func statement(_ word: String, line: Int) throws(ChatTemplateError) -> Statement.Kind {
      switch word {
      case "if": return try condition()
      case "for": return try loop()
      case "set": return try set()
      case "macro":
        let name = try name()
        let parameters = try parameters()
        return .macro(name, parameters, try ownLoops("endmacro"))
      case "call":
        let parameters = token == .symbol("(") ? try parameters() : []
        let call = try expression()
        guard case .call = call.kind else { throw .syntax(line: line, reason: "call needs a call") }
        return .call(parameters, call, try ownLoops("endcall"))
      case "filter":
        var filters = [try filterName()]
        while take("|") { filters.append(try filterName()) }
        return .filtered(filters, try block("endfilter"))
      case "with":
        var bindings: [(Target, Expression)] = []
        while token != .blockEnd {
          if !bindings.isEmpty { try expect(.symbol(","), ",") }
          let target = try target(allowsTuple: false)
          try expect(.symbol("="), "=")
          bindings.append((target, try expression()))
        }
        return .with(bindings, try block("endwith"))
      case "generation": return .block(try block("endgeneration"))
      case "break", "continue":
        guard loops > 0 else { throw .syntax(line: line, reason: "\(word) is not in a loop") }
        try endBlock()
        return word == "break" ? .leave : .next
      default: throw .unknown(line: line, name: "the statement \(word)")
      }
    }

    private mutating func ownLoops(_ end: String) throws(ChatTemplateError) -> [Statement] {
      let outer = loops
      loops = 0
      defer { loops = outer }
      return try block(end)
    }

    private mutating func condition() throws(ChatTemplateError) -> Statement.Kind {
      var branches: [(Expression, [Statement])] = []
      while true {
        let test = try tupleOrExpression()
        try endBlock()
        branches.append((test, try statements(until: ["elif", "else", "endif"])))
        let word = try name()
        if word == "elif" { continue }
        if word == "endif" {
          try endBlock()
          return .condition(branches, otherwise: [])
        }
        return .condition(branches, otherwise: try block("endif"))
      }
    }

    private mutating func loop() throws(ChatTemplateError) -> Statement.Kind {
      let target = try target(allowsTuple: true)
      guard take(word: "in") else { throw fault("in is expected, not \(found)") }
      let items = try tupleOrExpression(allowsConditional: false)
      let filter = take(word: "if") ? try expression() : nil
      if token == .name("recursive") { throw .unknown(line: line, name: "a recursive loop") }
      try endBlock()
      loops += 1
      let body = try statements(until: ["else", "endfor"])
      loops -= 1
      if try name() == "endfor" {
        try endBlock()
        return .loop(target, in: items, where: filter, body, otherwise: [])
      }
      return .loop(target, in: items, where: filter, body, otherwise: try block("endfor"))
    }

    private mutating func set() throws(ChatTemplateError) -> Statement.Kind {
      let target = try target(allowsTuple: true)
      if take("=") {
        let value = try tupleOrExpression()
        try endBlock()
        return .set(target, value)
      }
      var filters: [(name: String, arguments: Arguments)] = []
      while take("|") { filters.append(try filterName()) }
      return .setBlock(target, filters, try block("endset"))
    }

    private mutating func target(allowsTuple: Bool) throws(ChatTemplateError) -> Target {
      var targets: [Target] = []
      var isTuple = false
      repeat {
        if isTuple, token == .name("in") || token == .symbol("=") || token == .symbol(")") { break }
        targets.append(try singleTarget())
        guard allowsTuple, token == .symbol(",") else { break }
        isTuple = true
        advance()
      } while true
      return isTuple ? .names(targets) : targets[0]
    }

    private mutating func singleTarget() throws(ChatTemplateError) -> Target {
      if take("(") {
        let inner = try deeper { (parser) throws(ChatTemplateError) in try parser.target(allowsTuple: true) }
        try expect(.symbol(")"), ")")
        return inner
      }
      let name = try name()
      guard !["true", "false", "none", "True", "False", "None"].contains(name) else {
        throw fault("\(name) can not be set")
      }
      guard take(".") else { return .name(name) }
      return .member(of: name, try self.name())
    }

    private mutating func parameters() throws(ChatTemplateError) -> [(name: String, standard: Expression?)] {
      var result: [(name: String, standard: Expression?)] = []
      try expect(.symbol("("), "(")
      while token != .symbol(")") {
        if !result.isEmpty { try expect(.symbol(","), ",") }
        let name = try name()
        let standard = take("=") ? try expression() : nil
        if standard == nil, result.last?.standard != nil { throw fault("\(name) needs a default") }
        result.append((name, standard))
      }
      advance()
      return result
    }
  }
}
