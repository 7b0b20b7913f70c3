internal import API
internal import HTTPServer
internal import Synchronization

/// The server's counters as figures of `GET /metrics`; the server is made after the handler that shows them.
final class ServerFigures: Sendable {
  private let server = Mutex<HTTPServer?>(nil)

  func attach(_ server: HTTPServer) { self.server.withLock { $0 = server } }

  func samples() -> [MetricSample] {
    guard let metrics = server.withLock({ $0 })?.metrics else { return [] }
    func counter(_ name: String, _ help: String, _ value: Int) -> MetricSample {
      MetricSample("corad_http_\(name)_total", help: help, .counter, Double(value))
    }
    return [
      MetricSample(
        "corad_http_connections", help: "Connections open now.", .gauge, Double(metrics.openConnections)),
      counter("accepted_connections", "Connections accepted.", metrics.acceptedConnections),
      counter("refused_connections", "Connections above the limit.", metrics.refusedConnections),
      counter("requests", "Requests with a whole head.", metrics.requests),
      counter("malformed_requests", "Messages that never became a request.", metrics.malformedRequests),
      counter("timeouts", "Connections closed by a timeout.", metrics.timeouts),
      counter("abandoned_requests", "Clients that left before their answer.", metrics.abandonedRequests),
      counter("received_bytes", "Bytes read.", metrics.bytesReceived),
      counter("sent_bytes", "Bytes written.", metrics.bytesSent),
    ]
  }
}
