import ArgumentParser

/// Trains and serves many CoRA adapter tasks on one base transformer.
@main
struct Corad: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "corad",
    abstract: "Trains and serves many adapter tasks on one base transformer.",
    version: Version.text,
    subcommands: [
      Serve.self, Model.self, Subspaces.self, Train.self, Infer.self, Adapters.self, Jobs.self, Doctor.self,
    ])
}

enum Version {
  static let text = "0.1.0"
}
