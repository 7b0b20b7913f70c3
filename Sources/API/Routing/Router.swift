internal import HTTPWire

/// Paths to operations.
struct Router: Sendable {
  enum Match: Sendable, Equatable {
    /// With the path's parameters in order.
    case found(Endpoint, parameters: [String])
    /// Methods in the table's order, HEAD and OPTIONS aside.
    case wrongMethod(allowed: [String])
    case nothing
  }

  fileprivate struct Resource: Sendable {
    /// nil for a parameter.
    let segments: [String?]
    var operations: [(method: String, operation: Endpoint)]
  }

  fileprivate let resources: [Resource]
  /// Resources by the number of their segments.
  private let byCount: [[Int]]
  private let base: [String]

  /// - Parameter basePath: stands before every path: empty, or `/prefix` without a slash at the end.
  init(basePath: String = "") {
    var resources: [Resource] = []
    var byCount: [[Int]] = []
    var places: [String: Int] = [:]
    for operation in Endpoint.allCases {
      let (method, path) = operation.route
      if let place = places[path] {
        resources[place].operations.append((method, operation))
        continue
      }
      let segments: [String?] = path.split(separator: "/").map { $0.hasPrefix("{") ? nil : String($0) }
      places[path] = resources.count
      while byCount.count <= segments.count { byCount.append([]) }
      byCount[segments.count].append(resources.count)
      resources.append(Resource(segments: segments, operations: [(method, operation)]))
    }
    self.resources = resources
    self.byCount = byCount
    base = basePath.split(separator: "/").map(String.init)
  }

  func match(_ head: HTTPRequestHead) -> Match {
    let segments = head.segments
    guard segments.count > base.count, segments.starts(with: base) else { return .nothing }
    let rest = segments.dropFirst(base.count)
    guard rest.count < byCount.count else { return .nothing }
    for place in byCount[rest.count] {
      if let parameters = resources[place].parameters(rest) {
        return resources[place].match(head.method.name, parameters)
      }
    }
    return .nothing
  }
}

extension Router.Resource {
  /// nil where the path is another's. An empty parameter is no parameter.
  func parameters(_ path: ArraySlice<String>) -> [String]? {
    guard path.count == segments.count else { return nil }
    var parameters: [String] = []
    for (given, segment) in zip(path, segments) {
      if let segment {
        guard given == segment else { return nil }
      } else {
        if given.isEmpty { return nil }
        parameters.append(given)
      }
    }
    return parameters
  }

  func match(_ method: String, _ parameters: [String]) -> Router.Match {
    let wanted = method == "HEAD" ? "GET" : method
    for (method, operation) in operations where method == wanted {
      return .found(operation, parameters: parameters)
    }
    var allowed: [String] = []
    for (method, _) in operations {
      allowed.append(method)
      if method == "GET" { allowed.append("HEAD") }
    }
    return .wrongMethod(allowed: allowed)
  }
}
