/// A request method: a case-sensitive token (RFC 9110 §9.1).
public struct HTTPMethod: Hashable, Sendable, CustomStringConvertible {
  public let name: String

  public init(_ name: String) { self.name = name }

  public static var get: HTTPMethod { HTTPMethod("GET") }
  public static var head: HTTPMethod { HTTPMethod("HEAD") }
  public static var post: HTTPMethod { HTTPMethod("POST") }
  public static var put: HTTPMethod { HTTPMethod("PUT") }
  public static var patch: HTTPMethod { HTTPMethod("PATCH") }
  public static var delete: HTTPMethod { HTTPMethod("DELETE") }
  public static var options: HTTPMethod { HTTPMethod("OPTIONS") }

  public var description: String { name }
}
