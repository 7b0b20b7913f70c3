internal import ArgumentParser
internal import HTTPClient
internal import HTTPWire
internal import Serving

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Says what is wrong with a machine, a model folder, a store or a daemon."
  )

  @Option(help: "Model folder.") var model: String?
  @Option(help: "Store that no daemon has open.") var store: String?
  @Option(help: "URL of a daemon: exits 0 where it is ready, 1 where it is not.") var live: String?

  func run() async throws {
    if let live { return try probe(live) }
    var checks = Doctor.machine()
    if let model { checks.append(Doctor.model(directory: model)) }
    if let store { checks.append(await Doctor.store(path: store)) }
    Terminal.print(
      Terminal.table(
        ["CHECK", "", "DETAIL"], checks.map { [$0.name, $0.isHealthy ? "ok" : "FAILED", $0.detail] }))
    if checks.contains(where: { !$0.isHealthy }) { throw Exit.failed }
  }

  private func probe(_ url: String) throws {
    do throws(ClientError) {
      let client = try HTTPClient(url: url, timeout: .seconds(5))
      let answer = try client.send(.get, "/readyz")
      if answer.status == 200 { return }
      Terminal.complain("corad: " + Daemon.problem(answer.status, answer.body))
    } catch {
      _ = Daemon.failure(error, url)
    }
    throw Exit.failed
  }
}
