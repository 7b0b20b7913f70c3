import HTTPWire

/// What a parser made of some bytes, in a form that can be compared.
struct Reading: Equatable, CustomStringConvertible {
  var heads: [String] = []
  var bodies: [[UInt8]] = []
  var ends = 0
  var error: WireError?

  var description: String {
    "\(heads) \(bodies.map { String(decoding: $0, as: UTF8.self) }) \(ends) \(error as Any)"
  }
}

func describe(_ head: HTTPRequestHead) -> String {
  "\(head.method) \(head.target) 1.\(head.minorVersion) \(head.framing) keep=\(head.isKeepAlive) "
    + head.fields.list.map { "\($0.name)=\($0.value)" }.joined(separator: "|")
}

/// Feeds the pieces one after the other and takes out everything after each.
func read(_ pieces: [[UInt8]], limits: HTTPLimits = HTTPLimits()) -> Reading {
  var parser = RequestParser(limits: limits)
  var reading = Reading()
  for piece in pieces {
    parser.append(piece)
    do throws(WireError) {
      loop: while true {
        switch try parser.next() {
        case .needMore: break loop
        case .head(let head):
          reading.heads.append(describe(head))
          reading.bodies.append([])
        case .body(let bytes): reading.bodies[reading.bodies.count - 1] += bytes
        case .end: reading.ends += 1
        }
      }
    } catch {
      reading.error = error
      return reading
    }
  }
  return reading
}

func read(_ text: String, limits: HTTPLimits = HTTPLimits()) -> Reading {
  read([Array(text.utf8)], limits: limits)
}

/// The bytes one by one.
func single(_ text: String) -> [[UInt8]] { text.utf8.map { [$0] } }

func head(_ text: String) throws(WireError) -> HTTPRequestHead {
  var parser = RequestParser()
  parser.append(text.utf8)
  guard case .head(let head) = try parser.next() else { throw .peerGone }
  return head
}
