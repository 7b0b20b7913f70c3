import ArgumentParser

/// A subcommand per claim; docs/benchmarks.md holds what they measured.
@main
struct CoradBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "corad-bench", abstract: "Measures corad against its peers, and its own claims.",
    subcommands: [
      TrainBenchmark.self, AccuracyBenchmark.self, SwapBenchmark.self, ResidencyBenchmark.self,
      HTTPBenchmark.self, HTTPServerCommand.self, InferBenchmark.self, ProductsBenchmark.self,
      DecoderParityBenchmark.self, DecodeBenchmark.self, MixedDecodeBenchmark.self, PromptWaitBenchmark.self,
      MemoryBenchmark.self, WritersBenchmark.self, RegressBenchmark.self,
    ])
}
