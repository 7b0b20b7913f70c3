/// A chat template's parts, as they are parsed.                            [Jinja] the language that these are written in
enum Template {
  /// An expression and the line it stands in.
  struct Expression: Sendable {
    let line: Int
    let kind: Kind

    indirect enum Kind: Sendable {
      case constant(TemplateValue)
      case name(String)
      case list([Expression])
      case tuple([Expression])
      case map([(Expression, Expression)])
      case attribute(Expression, String)
      case item(Expression, Expression)
      case slice(Expression, from: Expression?, to: Expression?, by: Expression?)
      case call(Expression, Arguments)
      case filter(Expression, String, Arguments)
      case test(Expression, String, Arguments)
      case not(Expression)
      case negative(Expression)
      case positive(Expression)
      case binary(Operator, Expression, Expression)
      case concatenation([Expression])
      case comparison(Expression, [(Operator, Expression)])
      case and(Expression, Expression)
      case or(Expression, Expression)
      case conditional(if: Expression, then: Expression, else: Expression?)
    }
  }

  struct Arguments: Sendable {
    var positional: [Expression] = []
    var named: [(name: String, value: Expression)] = []
  }

  enum Operator: String, Sendable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case remainder = "%"
    case power = "**"
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case within = "in"
    case notWithin = "not in"
  }

  /// What a value is given to.
  enum Target: Sendable {
    case name(String)
    case member(of: String, String)
    case names([Target])
  }

  struct Statement: Sendable {
    let line: Int
    let kind: Kind

    indirect enum Kind: Sendable {
      case text(String)
      case output(Expression)
      case set(Target, Expression)
      case setBlock(Target, [(name: String, arguments: Arguments)], [Statement])
      case condition([(Expression, [Statement])], otherwise: [Statement])
      case loop(Target, in: Expression, where: Expression?, [Statement], otherwise: [Statement])
      case macro(String, [(name: String, standard: Expression?)], [Statement])
      case call([(name: String, standard: Expression?)], Expression, [Statement])
      case filtered([(name: String, arguments: Arguments)], [Statement])
      case with([(Target, Expression)], [Statement])
      /// A block that means nothing to the text, such as `generation`.
      case block([Statement])
      case leave
      case next
    }
  }
}
