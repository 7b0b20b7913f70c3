extension Template {
  /// Runs statements within limits.
  struct Interpreter {
    typealias Expression = Template.Expression
    typealias Value = Template.Value
    typealias Scope = Template.Scope

    /// Evaluations within each other; each takes a few hundred bytes of a small stack.
    static let depthLimit = 160

    let limits: ChatTemplate.Limits
    let now: TemplateDate
    /// The line that is at work, for reasons.
    var line = 1
    private var steps = 0
    private var depth = 0
    /// Texts that are being made: the prompt, and within it the bodies of macros and blocks.
    private var outputs: [String] = [""]
    /// Scopes with macros and namespaces, which may hold each other; let go at the end, the oldest first.
    private var scopes: [Scope] = []
    private var namespaces: [Namespace] = []

    init(limits: ChatTemplate.Limits, now: TemplateDate) {
      self.limits = limits
      self.now = now
    }

    mutating func render(_ statements: [Statement], in scope: Scope) throws(ChatTemplateError) -> String {
      defer {
        for scope in scopes { scope.clear() }
        for namespace in namespaces { namespace.map = Map([]) }
      }
      _ = try run(statements, in: scope)
      return outputs[0]
    }

    mutating func namespace(_ map: Map) throws(ChatTemplateError) -> Value {
      // What is kept to the end counts for more.
      try charge(64 * 100)
      let namespace = Namespace(map)
      namespaces.append(namespace)
      return .namespace(namespace)
    }

    // MARK: Limits

    func fault(_ reason: String) -> ChatTemplateError { .failed(line: line, reason: reason) }

    /// Counts a step and what it goes through.
    mutating func charge(_ size: Int = 0) throws(ChatTemplateError) {
      steps += 1 + size / 64
      guard steps <= limits.steps else { throw .tooManySteps(line: line, limit: limits.steps) }
    }

    /// Counts what is made, before it is.
    ///
    /// - Parameter to: bytes of what it is added to, which are counted already.
    mutating func make(bytes: Int, to existing: Int = 0) throws(ChatTemplateError) {
      guard bytes <= limits.outputBytes, existing <= limits.outputBytes - bytes else {
        throw .tooMuchText(line: line, limitBytes: limits.outputBytes)
      }
      try charge(bytes)
    }

    /// Counts a search, which may compare the whole part at each place.
    mutating func chargeSearch(_ text: String, _ part: String) throws(ChatTemplateError) {
      let (product, isOver) = text.utf8.count.multipliedReportingOverflow(by: max(part.utf8.count, 1))
      try charge(isOver ? .max / 2 : product)
    }

    /// Counts going through all of some values, as a comparison may.
    mutating func charge(goingThrough value: Value) throws(ChatTemplateError) {
      try charge(Self.weight(value))
    }

    static func weight(_ value: Value) -> Int {
      switch value {
      case .string(let text): text.utf8.count
      case .list(let values), .tuple(let values): values.reduce(16) { $0 + weight($1) }
      case .map(let map): map.entries.reduce(16) { $0 + weight($1.key) + weight($1.value) }
      default: 16
      }
    }

    /// Values within each other, beyond the nesting of what a template is given.
    static let nestingLimit = 100

    /// A value that is not nested too deeply to be gone through, and let go, on a small stack.
    mutating func shallow(_ value: Value) throws(ChatTemplateError) -> Value {
      func visit(_ value: Value, _ depth: Int, _ runner: inout Interpreter) throws(ChatTemplateError) {
        guard depth <= Self.nestingLimit else { throw .tooDeep(line: runner.line, limit: Self.nestingLimit) }
        switch value {
        case .list(let values), .tuple(let values):
          try runner.charge(values.count * 8)
          for value in values { try visit(value, depth + 1, &runner) }
        case .map(let map):
          try runner.charge(map.entries.count * 8)
          for entry in map.entries { try visit(entry.value, depth + 1, &runner) }
        case .loop(let loop): for value in loop.items { try visit(value, depth + 1, &runner) }
        case .method(let object, _): try visit(object, depth + 1, &runner)
        default: break
        }
      }
      try visit(value, 0, &self)
      return value
    }

    mutating func deeper<T>(
      _ body: (inout Interpreter) throws(ChatTemplateError) -> T
    ) throws(ChatTemplateError) -> T {
      depth += 1
      guard depth <= Self.depthLimit else { throw .tooDeep(line: line, limit: Self.depthLimit) }
      let result = try body(&self)
      depth -= 1
      return result
    }

    private mutating func write(_ text: String) throws(ChatTemplateError) {
      let top = outputs.count - 1
      try make(bytes: text.utf8.count, to: outputs[top].utf8.count)
      outputs[top] += text
    }

    /// The text that statements make, for a variable or a filter.
    private mutating func captured(_ statements: [Statement], in scope: Scope) throws(ChatTemplateError)
      -> String
    {
      outputs.append("")
      _ = try run(statements, in: scope)
      return outputs.removeLast()
    }

    // MARK: Statements

    /// What comes after a statement.
    private enum Flow { case on, leave, next }

    private mutating func run(_ statements: [Statement], in scope: Scope) throws(ChatTemplateError) -> Flow {
      try deeper { (runner) throws(ChatTemplateError) in
        for statement in statements {
          runner.line = statement.line
          try runner.charge()
          let flow = try runner.run(statement.kind, in: scope)
          if flow != .on { return flow }
        }
        return .on
      }
    }

    private mutating func run(_ kind: Statement.Kind, in scope: Scope) throws(ChatTemplateError) -> Flow {
      switch kind {
      case .text(let text): try write(text)
      case .output(let expression): try write(text(of: evaluate(expression, scope)))
      case .set(let target, let expression): try set(target, evaluate(expression, scope), in: scope)
      case .setBlock(let target, let filters, let body):
        var value = Value.string(try captured(body, in: Scope(parent: scope)))
        for filter in filters { value = try self.filter(value, filter.name, filter.arguments, scope) }
        try set(target, value, in: scope)
      case .condition(let branches, let otherwise):
        for (test, body) in branches where try evaluate(test, scope).isTrue {
          return try run(body, in: scope)
        }
        return try run(otherwise, in: scope)
      case .loop(let target, let items, let filter, let body, let otherwise):
        return try loop(target, items, filter, body, otherwise, scope)
      case .macro(let name, let parameters, let body):
        try charge(64 * 100)
        scopes.append(scope)
        scope.set(name, .macro(Macro(name: name, parameters: parameters, body: body, scope: scope)))
      case .call(let parameters, let call, let body):
        let caller = Macro(name: "caller", parameters: parameters, body: body, scope: scope)
        try write(text(of: self.call(call, caller: caller, scope)))
      case .filtered(let filters, let body):
        var value = Value.string(try captured(body, in: Scope(parent: scope)))
        for filter in filters { value = try self.filter(value, filter.name, filter.arguments, scope) }
        try write(text(of: value))
      case .with(let bindings, let body):
        let inner = Scope(parent: scope)
        for (target, expression) in bindings { try set(target, evaluate(expression, scope), in: inner) }
        return try run(body, in: inner)
      case .block(let body): return try run(body, in: Scope(parent: scope))
      case .leave: return .leave
      case .next: return .next
      }
      return .on
    }

    private mutating func loop(
      _ target: Target, _ items: Expression, _ filter: Expression?, _ body: [Statement],
      _ otherwise: [Statement],
      _ scope: Scope
    ) throws(ChatTemplateError) -> Flow {
      var values = try elements(of: evaluate(items, scope))
      if let filter {
        var kept: [Value] = []
        for value in values {
          let inner = Scope(parent: scope)
          try set(target, value, in: inner)
          if try evaluate(filter, inner).isTrue { kept.append(value) }
        }
        values = kept
      }
      guard !values.isEmpty else { return try run(otherwise, in: scope) }
      let loop = Loop(values)
      for (index, value) in values.enumerated() {
        loop.index = index
        let inner = Scope(parent: scope)
        inner.set("loop", .loop(loop))
        try set(target, value, in: inner)
        if try run(body, in: inner) == .leave { break }
      }
      return .on
    }

    private mutating func set(_ target: Target, _ value: Value, in scope: Scope) throws(ChatTemplateError) {
      switch target {
      case .name(let name): scope.set(name, value)
      case .member(let name, let member):
        guard case .namespace(let namespace)? = scope.find(name) else {
          throw fault("cannot assign attribute on non-namespace object")
        }
        namespace.map[.string(member)] = value
      case .names(let targets):
        let values = try elements(of: value)
        guard values.count == targets.count else {
          throw fault("\(values.count) values for \(targets.count) names")
        }
        for (target, value) in zip(targets, values) { try set(target, value, in: scope) }
      }
    }

    // MARK: Calls

    mutating func call(
      _ macro: Macro, _ arguments: [Value], _ named: [(name: String, value: Value)], caller: Macro?
    ) throws(ChatTemplateError) -> Value {
      let scope = Scope(parent: macro.scope)
      if let caller { scope.set("caller", .macro(caller)) }
      guard arguments.count <= macro.parameters.count else {
        throw fault("macro '\(macro.name)' takes not more than \(macro.parameters.count) argument(s)")
      }
      var rest = named
      for (index, parameter) in macro.parameters.enumerated() {
        let place = rest.firstIndex { $0.name == parameter.name }
        if index < arguments.count {
          guard place == nil else { throw fault("macro '\(macro.name)' got \(parameter.name) twice") }
          scope.set(parameter.name, arguments[index])
        } else if let place {
          scope.set(parameter.name, rest.remove(at: place).value)
        } else if let standard = parameter.standard {
          scope.set(parameter.name, try evaluate(standard, scope))
        } else {
          scope.set(parameter.name, .undefined("parameter '\(parameter.name)' was not provided"))
        }
      }
      if let extra = rest.first {
        throw fault("macro '\(macro.name)' takes no keyword argument '\(extra.name)'")
      }
      return .string(try captured(macro.body, in: scope))
    }
  }
}
