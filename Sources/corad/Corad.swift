internal import ArgumentParser
internal import Foundation

/// Trains and serves many adapter tasks on one base transformer.
struct Corad: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "corad",
    abstract: "Trains and serves many adapter tasks on one base transformer.",
    version: Version.text,
    subcommands: [
      ServeCommand.self, TrainCommand.self, InferCommand.self, AdaptersCommand.self, JobsCommand.self,
      SubspaceCommand.self, ModelCommand.self, DoctorCommand.self,
    ])
}

enum Version {
  static let text = "0.1.0"
}

/// What a command exits with; docs/cli.md has the same table.
enum Exit {
  static let failed = ExitCode(1)
  static let usage = ExitCode(2)
  static let unreachable = ExitCode(3)
  static let refused = ExitCode(4)
}

@main
enum Entry {
  static func main() async {
    do {
      var command = try Corad.parseAsRoot()
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch let error as ConfigurationFault {
      Terminal.complain("corad: \(error)")
      Foundation.exit(Exit.usage.rawValue)
    } catch {
      // The parser's own code for a wrong command line is 64.
      guard Corad.exitCode(for: error) == .validationFailure else { Corad.exit(withError: error) }
      Terminal.complain(Corad.fullMessage(for: error))
      Foundation.exit(Exit.usage.rawValue)
    }
  }
}
