extension Template.Parser {
  typealias Expression = Template.Expression

  /// An expression, or several with commas between them.
  mutating func tupleOrExpression(allowsConditional: Bool = true) throws(ChatTemplateError) -> Expression {
    let line = line
    func one(_ parser: inout Self) throws(ChatTemplateError) -> Expression {
      try allowsConditional
        ? parser.expression() : parser.deeper { (p) throws(ChatTemplateError) in try p.disjunction() }
    }
    let first = try one(&self)
    guard token == .symbol(",") else { return first }
    var elements = [first]
    while take(",") {
      if endsTuple { break }
      elements.append(try one(&self))
    }
    return Expression(line: line, kind: .tuple(elements))
  }

  private var endsTuple: Bool {
    token == .blockEnd || token == .variableEnd || token == .symbol(")") || token == .name("if")
  }

  mutating func expression() throws(ChatTemplateError) -> Expression {
    try deeper { (parser) throws(ChatTemplateError) in
      var result = try parser.disjunction()
      while parser.token == .name("if") {
        let line = parser.line
        try parser.longer()
        parser.advance()
        let test = try parser.disjunction()
        let otherwise = parser.take(word: "else") ? try parser.expression() : nil
        result = Expression(line: line, kind: .conditional(if: test, then: result, else: otherwise))
      }
      return result
    }
  }

  private mutating func disjunction() throws(ChatTemplateError) -> Expression {
    try chain { (parser) throws(ChatTemplateError) in try parser.disjunctions() }
  }

  private mutating func disjunctions() throws(ChatTemplateError) -> Expression {
    var left = try conjunction()
    while token == .name("or") {
      let line = line
      try longer()
      advance()
      left = Expression(line: line, kind: .or(left, try conjunction()))
    }
    return left
  }

  private mutating func conjunction() throws(ChatTemplateError) -> Expression {
    var left = try negation()
    while token == .name("and") {
      let line = line
      try longer()
      advance()
      left = Expression(line: line, kind: .and(left, try negation()))
    }
    return left
  }

  private mutating func negation() throws(ChatTemplateError) -> Expression {
    guard token == .name("not") else { return try comparison() }
    let line = line
    advance()
    return Expression(
      line: line, kind: .not(try deeper { (parser) throws(ChatTemplateError) in try parser.negation() }))
  }

  private mutating func comparison() throws(ChatTemplateError) -> Expression {
    let line = line
    let left = try binary(0)
    var rest: [(Template.Operator, Expression)] = []
    while true {
      if case .symbol(let symbol) = token, ["==", "!=", "<", "<=", ">", ">="].contains(symbol),
        let op = Template.Operator(rawValue: symbol)
      {
        advance()
        rest.append((op, try binary(0)))
      } else if take(word: "in") {
        rest.append((.within, try binary(0)))
      } else if token == .name("not"), following == .name("in") {
        advance()
        advance()
        rest.append((.notWithin, try binary(0)))
      } else {
        return rest.isEmpty ? left : Expression(line: line, kind: .comparison(left, rest))
      }
    }
  }

  /// Operators between two values, the loosest first; `~` takes as many as there are.
  private static let operators: [[String]] = [["+", "-"], ["~"], ["*", "/", "//", "%"], ["**"]]

  private mutating func binary(_ level: Int) throws(ChatTemplateError) -> Expression {
    guard level < Self.operators.count else { return try unary() }
    var left = try binary(level + 1)
    while case .symbol(let symbol) = token, Self.operators[level].contains(symbol) {
      let line = line
      try longer()
      advance()
      let right = try binary(level + 1)
      if let op = Template.Operator(rawValue: symbol) {
        left = Expression(line: line, kind: .binary(op, left, right))
      } else if case .concatenation(let parts) = left.kind {
        left = Expression(line: line, kind: .concatenation(parts + [right]))
      } else {
        left = Expression(line: line, kind: .concatenation([left, right]))
      }
    }
    return left
  }

  private mutating func unary(filters: Bool = true) throws(ChatTemplateError) -> Expression {
    let line = line
    var result: Expression
    if token == .symbol("-") || token == .symbol("+") {
      let isNegative = token == .symbol("-")
      advance()
      let operand = try deeper { (parser) throws(ChatTemplateError) in try parser.unary(filters: false) }
      result = Expression(line: line, kind: isNegative ? .negative(operand) : .positive(operand))
    } else {
      result = try primary()
    }
    result = try postfix(result)
    return filters ? try filtersAndTests(result) : result
  }

  // MARK: Around a value

  private mutating func postfix(_ value: Expression) throws(ChatTemplateError) -> Expression {
    var result = value
    while case .symbol(let symbol) = token {
      let line = line
      guard [".", "[", "("].contains(symbol) else { return result }
      try longer()
      switch symbol {
      case ".":
        advance()
        if case .integer(let index) = token {
          advance()
          let item = Expression(line: line, kind: .constant(.integer(index)))
          result = Expression(line: line, kind: .item(result, item))
        } else {
          result = Expression(line: line, kind: .attribute(result, try name()))
        }
      case "[":
        advance()
        result = try subscripted(result, line: line)
        try expect(.symbol("]"), "]")
      case "(":
        result = Expression(line: line, kind: .call(result, try arguments()))
      default: return result
      }
    }
    return result
  }

  private mutating func subscripted(_ value: Expression, line: Int) throws(ChatTemplateError) -> Expression {
    let first = token == .symbol(":") ? nil : try tupleOrExpression()
    guard take(":") else {
      guard let first else { throw fault("an index is expected, not \(found)") }
      return Expression(line: line, kind: .item(value, first))
    }
    let last = token == .symbol(":") || token == .symbol("]") ? nil : try expression()
    var step: Expression?
    if take(":"), token != .symbol("]") { step = try expression() }
    return Expression(line: line, kind: .slice(value, from: first, to: last, by: step))
  }

  private mutating func filtersAndTests(_ value: Expression) throws(ChatTemplateError) -> Expression {
    var result = value
    while true {
      let line = line
      if take("|") {
        try longer()
        let (name, arguments) = try filterName()
        result = Expression(line: line, kind: .filter(result, name, arguments))
      } else if take(word: "is") {
        try longer()
        result = try test(result, line: line)
      } else if token == .symbol("(") {
        try longer()
        result = Expression(line: line, kind: .call(result, try arguments()))
      } else {
        return result
      }
    }
  }

  mutating func filterName() throws(ChatTemplateError) -> (name: String, arguments: Template.Arguments) {
    let name = try name()
    return (name, token == .symbol("(") ? try arguments() : Template.Arguments())
  }

  private mutating func test(_ value: Expression, line: Int) throws(ChatTemplateError) -> Expression {
    let isNegated = take(word: "not")
    let name = try name()
    var arguments = Template.Arguments()
    if token == .symbol("(") {
      arguments = try self.arguments()
    } else if beginsArgument {
      let argument = try primary()
      arguments.positional = [try postfix(argument)]
    }
    let test = Expression(line: line, kind: .test(value, name, arguments))
    return isNegated ? Expression(line: line, kind: .not(test)) : test
  }

  private var beginsArgument: Bool {
    switch token {
    case .name(let name): !["else", "or", "and", "is", "if", "in", "not"].contains(name)
    case .string, .integer, .number, .symbol("["), .symbol("{"): true
    default: false
    }
  }

  private mutating func arguments() throws(ChatTemplateError) -> Template.Arguments {
    var result = Template.Arguments()
    try expect(.symbol("("), "(")
    var isFirst = true
    while token != .symbol(")") {
      if !isFirst {
        try expect(.symbol(","), ",")
        if token == .symbol(")") { break }
      }
      isFirst = false
      if token == .symbol("*") || token == .symbol("**") {
        throw .unknown(line: line, name: "a call with \(found)")
      }
      if case .name(let name) = token, following == .symbol("=") {
        advance()
        advance()
        result.named.append((name, try expression()))
      } else {
        guard result.named.isEmpty else { throw fault("an argument without a name after one with") }
        result.positional.append(try expression())
      }
    }
    advance()
    return result
  }

  // MARK: Values

  private mutating func primary() throws(ChatTemplateError) -> Expression {
    let line = line
    func constant(_ value: TemplateValue) -> Expression { Expression(line: line, kind: .constant(value)) }
    switch token {
    case .name(let name):
      advance()
      switch name {
      case "true", "True": return constant(.bool(true))
      case "false", "False": return constant(.bool(false))
      case "none", "None": return constant(.null)
      default: return Expression(line: line, kind: .name(name))
      }
    case .string(var text):
      advance()
      while case .string(let more) = token {
        text += more
        advance()
      }
      return constant(.string(text))
    case .integer(let integer):
      advance()
      return constant(.integer(integer))
    case .number(let number):
      advance()
      return constant(.number(number))
    case .symbol("("):
      advance()
      if take(")") { return Expression(line: line, kind: .tuple([])) }
      let inner = try tupleOrExpression()
      try expect(.symbol(")"), ")")
      return inner
    case .symbol("["):
      advance()
      var elements: [Expression] = []
      while token != .symbol("]") {
        if !elements.isEmpty {
          try expect(.symbol(","), ",")
          if token == .symbol("]") { break }
        }
        elements.append(try expression())
      }
      advance()
      return Expression(line: line, kind: .list(elements))
    case .symbol("{"):
      advance()
      var entries: [(Expression, Expression)] = []
      while token != .symbol("}") {
        if !entries.isEmpty {
          try expect(.symbol(","), ",")
          if token == .symbol("}") { break }
        }
        let key = try expression()
        try expect(.symbol(":"), ":")
        entries.append((key, try expression()))
      }
      advance()
      return Expression(line: line, kind: .map(entries))
    default: throw fault("a value is expected, not \(found)")
    }
  }
}
