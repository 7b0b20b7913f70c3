extension Template.Interpreter {
  mutating func evaluate(_ expression: Expression, _ scope: Scope) throws(ChatTemplateError) -> Value {
    try deeper { (runner) throws(ChatTemplateError) in
      let outer = runner.line
      runner.line = expression.line
      try runner.charge()
      let value = try runner.value(expression, scope)
      runner.line = outer
      return value
    }
  }

  private mutating func value(_ expression: Expression, _ scope: Scope) throws(ChatTemplateError) -> Value {
    switch expression.kind {
    case .constant(let value): return Value(value)
    case .name(let name):
      try charge(name.utf8.count)
      if let value = scope.find(name) { return value }
      return Self.functions.contains(name) ? .function(name) : .undefined("'\(name)' is undefined")
    case .list(let elements): return try shallow(.list(evaluate(elements, scope)))
    case .tuple(let elements): return try shallow(.tuple(evaluate(elements, scope)))
    case .map(let entries):
      var map = Template.Map([])
      for (key, value) in entries {
        let key = try evaluate(key, scope)
        guard Template.Map.key(key) != nil else { throw fault("unhashable type: '\(key.type)'") }
        map[key] = try evaluate(value, scope)
      }
      return try shallow(.map(map))
    case .attribute(let object, let name):
      try charge(name.utf8.count)
      return try attribute(evaluate(object, scope), name)
    case .item(let object, let index): return try item(evaluate(object, scope), evaluate(index, scope))
    case .slice(let object, let from, let to, let by):
      let object = try evaluate(object, scope)
      func bound(
        _ runner: inout Self, _ expression: Expression?
      ) throws(ChatTemplateError) -> Int? {
        guard let expression else { return nil }
        let value = try runner.evaluate(expression, scope)
        if case .none = value { return nil }
        guard let integer = value.integer else {
          throw runner.fault("slice indices must be integers or None")
        }
        return integer
      }
      return try slice(object, bound(&self, from), bound(&self, to), bound(&self, by))
    case .call: return try call(expression, caller: nil, scope)
    case .filter(let value, let name, let arguments):
      return try filter(evaluate(value, scope), name, arguments, scope)
    case .test(let value, let name, let arguments):
      let value = try evaluate(value, scope)
      return .bool(try test(value, name, evaluate(arguments.positional, scope)))
    case .not(let operand): return .bool(try !evaluate(operand, scope).isTrue)
    case .negative(let operand), .positive(let operand):
      let value = try evaluate(operand, scope)
      var isNegative = false
      if case .negative = expression.kind { isNegative = true }
      if let integer = value.integer {
        if isNegative, integer == .min { throw fault("a number is too great") }
        return .integer(isNegative ? -integer : integer)
      }
      guard let number = value.number else { throw wrongOperand(value) }
      return .number(isNegative ? -number : number)
    case .binary(let op, let left, let right):
      let left = try evaluate(left, scope)
      return try arithmetic(op, left, evaluate(right, scope))
    case .concatenation(let parts):
      var text = ""
      for part in parts {
        let part = try self.text(of: evaluate(part, scope))
        try make(bytes: part.utf8.count, to: text.utf8.count)
        text += part
      }
      return .string(text)
    case .comparison(let left, let rest):
      var left = try evaluate(left, scope)
      for (op, right) in rest {
        let right = try evaluate(right, scope)
        guard try compare(op, left, right) else { return .bool(false) }
        left = right
      }
      return .bool(true)
    case .and(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? try evaluate(right, scope) : value
    case .or(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? value : try evaluate(right, scope)
    case .conditional(let test, let then, let otherwise):
      if try evaluate(test, scope).isTrue { return try evaluate(then, scope) }
      guard let otherwise else { return .undefined("the inline if-expression has no else") }
      return try evaluate(otherwise, scope)
    }
  }

  mutating func evaluate(_ expressions: [Expression], _ scope: Scope) throws(ChatTemplateError) -> [Value] {
    var values: [Value] = []
    for expression in expressions { values.append(try evaluate(expression, scope)) }
    return values
  }

  private func wrongOperand(_ value: Value) -> ChatTemplateError {
    if case .undefined(let what) = value { return fault(what) }
    return fault("bad operand type: '\(value.type)'")
  }

  // MARK: Members and items

  private func attribute(_ object: Value, _ name: String) throws(ChatTemplateError) -> Value {
    let missing = Value.undefined("'\(object.type) object' has no attribute '\(name)'")
    switch object {
    case .undefined(let what): throw fault(what)
    case .map(let map):
      if Self.mapMethods.contains(name) { return .method(object, name) }
      return map[.string(name)] ?? missing
    case .namespace(let namespace): return namespace.map[.string(name)] ?? missing
    case .loop(let loop):
      return loop[name] ?? (["cycle", "changed"].contains(name) ? .method(object, name) : missing)
    case .string: return Self.textMethods.contains(name) ? .method(object, name) : missing
    case .list, .tuple: return Self.listMethods.contains(name) ? .method(object, name) : missing
    case .macro(let macro): return name == "name" ? .string(macro.name) : missing
    default: return missing
    }
  }

  mutating func item(_ object: Value, _ index: Value) throws(ChatTemplateError) -> Value {
    try charge(goingThrough: index)
    switch object {
    case .undefined(let what): throw fault(what)
    case .map(let map):
      if let value = map[index] { return value }
      if case .string(let name) = index, Self.mapMethods.contains(name) { return .method(object, name) }
    case .list(let values), .tuple(let values):
      if let index = index.integer {
        let place = index < 0 ? index + values.count : index
        if values.indices.contains(place) { return values[place] }
      } else if case .string(let name) = index {
        return try attribute(object, name)
      }
    case .string(let text):
      if let index = index.integer {
        try charge(text.utf8.count)
        let scalars = Array(text.unicodeScalars)
        let place = index < 0 ? index + scalars.count : index
        if scalars.indices.contains(place) { return .string(String(scalars[place])) }
      } else if case .string(let name) = index {
        return try attribute(object, name)
      }
    default: if case .string(let name) = index { return try attribute(object, name) }
    }
    return .undefined("'\(object.type) object' has no such element")
  }

  private mutating func slice(
    _ object: Value, _ from: Int?, _ to: Int?, _ by: Int?
  ) throws(ChatTemplateError) -> Value {
    let step = by ?? 1
    guard step != 0, step != .min else { throw fault("slice step cannot be zero") }
    func indices(_ count: Int) -> [Int] {
      func clamp(_ bound: Int?, _ standard: Int) -> Int {
        guard let bound else { return standard }
        let place = bound < 0 ? max(bound, -count - 1) + count : min(bound, count)
        return step > 0 ? max(0, place) : min(max(-1, place), count - 1)
      }
      let first = clamp(from, step > 0 ? 0 : count - 1)
      let last = clamp(to, step > 0 ? count : -1)
      // No step beyond the length changes anything.
      return Array(stride(from: first, to: last, by: max(-count - 1, min(step, count + 1))))
    }
    switch object {
    case .list(let values):
      try charge(values.count)
      return .list(indices(values.count).map { values[$0] })
    case .tuple(let values):
      try charge(values.count)
      return .tuple(indices(values.count).map { values[$0] })
    case .string(let text):
      try charge(text.utf8.count)
      let scalars = Array(text.unicodeScalars)
      var result = String.UnicodeScalarView()
      for index in indices(scalars.count) { result.append(scalars[index]) }
      return .string(String(result))
    case .undefined(let what): throw fault(what)
    default: throw fault("'\(object.type)' object is not subscriptable")
    }
  }

  // MARK: Arithmetic

  private mutating func arithmetic(
    _ op: Template.Operator, _ left: Value, _ right: Value
  ) throws(ChatTemplateError) -> Value {
    switch (op, left, right) {
    case (_, .undefined(let what), _), (_, _, .undefined(let what)): throw fault(what)
    case (.add, .string(let a), .string(let b)):
      try make(bytes: a.utf8.count + b.utf8.count)
      return .string(a + b)
    case (.add, .list(let a), .list(let b)):
      try make(bytes: (a.count + b.count) * 16)
      return .list(a + b)
    case (.add, .tuple(let a), .tuple(let b)):
      try make(bytes: (a.count + b.count) * 16)
      return .tuple(a + b)
    case (.multiply, .string(let text), _) where right.integer != nil:
      let count = max(right.integer ?? 0, 0)
      let (bytes, isOver) = text.utf8.count.multipliedReportingOverflow(by: count)
      try make(bytes: isOver ? .max : bytes)
      return .string(String(repeating: text, count: text.isEmpty ? 0 : count))
    case (.multiply, _, .string) where left.integer != nil: return try arithmetic(op, right, left)
    case (.remainder, .string, _): throw .unknown(line: line, name: "formatting with %")
    default: break
    }
    if op != .divide, let a = left.integer, let b = right.integer {
      if let result = try whole(op, a, b) { return .integer(result) }
    }
    guard let a = left.number, let b = right.number else {
      throw fault("unsupported operand type(s) for \(op.rawValue): '\(left.type)' and '\(right.type)'")
    }
    switch op {
    case .add: return .number(a + b)
    case .subtract: return .number(a - b)
    case .multiply: return .number(a * b)
    case .divide, .floorDivide, .remainder:
      guard b != 0 else { throw fault("division by zero") }
      if op == .divide { return .number(a / b) }
      let quotient = (a / b).rounded(.down)
      return .number(op == .floorDivide ? quotient : a - quotient * b)
    default: throw .unknown(line: line, name: "\(op.rawValue) of numbers that are not whole")
    }
  }

  /// nil where whole numbers do not give one.
  private func whole(_ op: Template.Operator, _ a: Int, _ b: Int) throws(ChatTemplateError) -> Int? {
    let result: (partialValue: Int, overflow: Bool)
    switch op {
    case .add: result = a.addingReportingOverflow(b)
    case .subtract: result = a.subtractingReportingOverflow(b)
    case .multiply: result = a.multipliedReportingOverflow(by: b)
    case .floorDivide, .remainder:
      guard b != 0 else { throw fault("integer division or modulo by zero") }
      guard b != -1 else { return op == .remainder ? 0 : try whole(.subtract, 0, a) }
      let (quotient, remainder) = a.quotientAndRemainder(dividingBy: b)
      let isBelow = remainder != 0 && (remainder < 0) != (b < 0)
      return op == .remainder ? (isBelow ? remainder + b : remainder) : (isBelow ? quotient - 1 : quotient)
    case .power:
      guard b >= 0 else { return nil }
      var power = 1
      // Beyond 64 times every base but 0, 1 and -1 is too great.
      for _ in 0..<(abs(a.signum()) == a.magnitude ? b & 1 + 2 : min(b, 64)) {
        power = try whole(.multiply, power, a) ?? power
      }
      return b == 0 ? 1 : power
    default: return nil
    }
    guard !result.overflow else { throw fault("a number is too great") }
    return result.partialValue
  }

  // MARK: Comparison

  mutating func compare(
    _ op: Template.Operator, _ left: Value, _ right: Value
  ) throws(ChatTemplateError) -> Bool {
    if op != .within, op != .notWithin {
      try charge(goingThrough: left)
      try charge(goingThrough: right)
    }
    switch op {
    case .equal: return Value.equal(left, right)
    case .notEqual: return !Value.equal(left, right)
    case .within: return try contains(right, left)
    case .notWithin: return try !contains(right, left)
    case .less: return try isLess(left, right)
    case .greater: return try isLess(right, left)
    case .lessOrEqual: return try !isLess(right, left)
    case .greaterOrEqual: return try !isLess(left, right)
    default: return false
    }
  }

  func isLess(_ left: Value, _ right: Value) throws(ChatTemplateError) -> Bool {
    switch (left, right) {
    case (.undefined(let what), _), (_, .undefined(let what)): throw fault(what)
    case (.string(let a), .string(let b)): return a.utf8.lexicographicallyPrecedes(b.utf8)
    case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
      for (x, y) in zip(a, b) where !Value.equal(x, y) { return try isLess(x, y) }
      return a.count < b.count
    default:
      guard let a = left.number, let b = right.number else {
        throw fault("'<' not supported between instances of '\(left.type)' and '\(right.type)'")
      }
      return a < b
    }
  }

  mutating func contains(_ container: Value, _ value: Value) throws(ChatTemplateError) -> Bool {
    switch container {
    case .string(let text):
      guard case .string(let part) = value else {
        throw fault("'in <string>' requires string as left operand, not \(value.type)")
      }
      try chargeSearch(text, part)
      return TemplateText.find(part, in: text) != nil
    case .map(let map):
      try charge(goingThrough: value)
      return map[value] != nil
    default:
      let values = try elements(of: container)
      try charge(goingThrough: container)
      return values.contains { Value.equal($0, value) }
    }
  }

  /// What a loop goes through.
  mutating func elements(of value: Value) throws(ChatTemplateError) -> [Value] {
    switch value {
    case .list(let values), .tuple(let values):
      try charge(values.count)
      return values
    case .map(let map):
      try charge(map.entries.count)
      return map.entries.map(\.key)
    case .string(let text):
      try make(bytes: text.utf8.count * 16)
      return text.unicodeScalars.map { .string(String($0)) }
    case .undefined: return []
    case .loop(let loop): return loop.items
    default: throw fault("'\(value.type)' object is not iterable")
    }
  }

  // MARK: Calls

  mutating func call(
    _ expression: Expression, caller: Template.Macro?, _ scope: Scope
  ) throws(ChatTemplateError) -> Value {
    guard case .call(let callee, let arguments) = expression.kind else { return .none }
    let function = try evaluate(callee, scope)
    let values = try evaluate(arguments.positional, scope)
    var named: [(name: String, value: Value)] = []
    for (name, value) in arguments.named { named.append((name, try evaluate(value, scope))) }
    line = expression.line
    switch function {
    case .macro(let macro): return try call(macro, values, named, caller: caller)
    case .function(let name): return try self.function(name, values, named)
    case .method(let object, let name): return try method(object, name, values, named)
    case .undefined(let what): throw fault(what)
    default: throw fault("'\(function.type)' object is not callable")
    }
  }
}

extension Template.Loop {
  subscript(name: String) -> Template.Value? {
    switch name {
    case "index": .integer(index + 1)
    case "index0": .integer(index)
    case "revindex": .integer(items.count - index)
    case "revindex0": .integer(items.count - index - 1)
    case "first": .bool(index == 0)
    case "last": .bool(index == items.count - 1)
    case "length": .integer(items.count)
    // Only recursive loops are deeper.
    case "depth": .integer(1)
    case "depth0": .integer(0)
    case "previtem": index > 0 ? items[index - 1] : .undefined("there is no previous item")
    case "nextitem": index + 1 < items.count ? items[index + 1] : .undefined("there is no next item")
    default: nil
    }
  }
}
