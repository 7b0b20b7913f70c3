internal import Serving

/// One figure for `GET /metrics` from outside the core: the server's connections, say.
public struct MetricSample: Sendable {
  public enum Kind: String, Sendable {
    case counter, gauge
  }

  /// By Prometheus' rules: `corad_http_connections`, a counter ends in `_total`.
  public let name: String
  public let help: String
  public let kind: Kind
  public let value: Double
  public let labels: [(name: String, value: String)]

  public init(
    _ name: String, help: String, _ kind: Kind, _ value: Double,
    labels: [(name: String, value: String)] = []
  ) {
    self.name = name
    self.help = help
    self.kind = kind
    self.value = value
    self.labels = labels
  }
}

/// The text format of Prometheus, version 0.0.4.
enum PrometheusText {
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  static func bytes(_ metrics: ServingMetrics, _ further: [MetricSample]) -> [UInt8] {
    var text = ""
    var previous: String?
    for sample in samples(metrics) + writing(metrics.writing) + aliases(metrics) + further {
      if sample.name != previous {
        text += "# HELP \(sample.name) \(escaped(sample.help, quotes: false))\n"
        text += "# TYPE \(sample.name) \(sample.kind.rawValue)\n"
      }
      previous = sample.name
      let labels = sample.labels.map { "\($0.name)=\"\(escaped($0.value, quotes: true))\"" }
      let list = labels.isEmpty ? "" : "{" + labels.joined(separator: ",") + "}"
      text += "\(sample.name)\(list) \(number(sample.value))\n"
    }
    return Array(text.utf8)
  }

  private static func counter(_ name: String, _ help: String, _ value: Int) -> MetricSample {
    MetricSample("corad_\(name)_total", help: help, .counter, Double(value))
  }

  private static func gauge(_ name: String, _ help: String, _ value: Int) -> MetricSample {
    MetricSample("corad_\(name)", help: help, .gauge, Double(value))
  }

  private static func samples(_ metrics: ServingMetrics) -> [MetricSample] {
    return [
      counter("rows_answered", "Inputs answered.", metrics.rowsAnswered),
      counter("rows_refused", "Inputs refused because the queue was full.", metrics.rowsRefused),
      counter("rows_expired", "Inputs whose deadline passed.", metrics.rowsExpired),
      counter("tokens_computed", "Tokens that went through the base.", metrics.tokensComputed),
      counter("batches", "Forward passes.", metrics.batches),
      gauge("rows_queued", "Inputs that wait for a batch.", metrics.queuedRows),
      gauge("rows_running", "Inputs in a batch.", metrics.runningRows),
      gauge("tasks", "Tasks in the store.", metrics.tasks),
      gauge("resident_adapters", "Adapters in memory.", metrics.residentAdapters),
      gauge("resident_adapter_bytes", "Bytes of the adapters in memory.", metrics.residentAdapterBytes),
      gauge("resident_base_bytes", "Bytes of the base in memory.", metrics.residentBaseBytes),
      gauge("resident_subspace_bytes", "Bytes of the subspaces in memory.", metrics.residentSubspaceBytes),
      counter("adapter_loads", "Adapters loaded from the store.", metrics.adapterLoads),
      counter("adapter_evictions", "Adapters that left memory for others.", metrics.adapterEvictions),
      gauge("jobs_running", "Jobs that run.", metrics.jobsRunning),
      gauge("jobs_queued", "Jobs that wait.", metrics.jobsQueued),
      counter("training_steps", "Optimiser steps.", metrics.trainingSteps),
    ]
  }

  /// None of a base that does not write.
  private static func writing(_ figures: WritingFigures?) -> [MetricSample] {
    guard let figures else { return [] }
    return [
      gauge("generation_running", "Texts that are written.", figures.running),
      gauge("generation_waiting", "Texts that wait for a row.", figures.waiting),
      counter("generation_refused", "Texts refused because too many were open.", figures.refused),
      counter("generation_expired", "Texts whose deadline passed.", figures.expired),
      gauge("generation_pages", "Pages of keys and values that are held.", figures.pages),
      gauge("generation_prefix_pages", "Pages kept for prompts that begin alike.", figures.prefixPages),
      gauge("generation_resident_bytes", "Bytes that pages have taken.", figures.residentBytes),
      counter("generation_steps", "Forward passes of writing.", figures.steps),
      counter("generation_prompt_tokens", "Prompt tokens computed.", figures.promptTokens),
      counter(
        "generation_prefix_tokens", "Prompt tokens whose keys and values were kept.", figures.reusedTokens),
      counter("generation_tokens_written", "Tokens written.", figures.writtenTokens),
      counter(
        "generation_preemptions", "Texts that gave their pages to others for a while.", figures.preemptions),
    ]
  }

  /// Names that routers and dashboards for adapter servers look for. A batch takes as many tasks as have rows, so the
  /// most that run at once are all.
  private static func aliases(_ metrics: ServingMetrics) -> [MetricSample] {
    [
      MetricSample(
        "vllm:num_requests_running", help: "Requests with an input in a batch or a text being written.",
        .gauge,
        Double(metrics.requestsRunning)),
      MetricSample(
        "vllm:num_requests_waiting", help: "Requests that wait.", .gauge,
        Double(metrics.requestsWaiting)),
      MetricSample(
        "vllm:lora_requests_info", help: "Tasks that run and that wait, to answer or to write, at this time.",
        .gauge, metrics.time,
        labels: [
          ("max_lora", String(metrics.tasks)),
          ("running_lora_adapters", metrics.tasksRunning.joined(separator: ",")),
          ("waiting_lora_adapters", metrics.tasksWaiting.joined(separator: ",")),
        ]),
    ]
  }

  private static func number(_ value: Double) -> String {
    Int(exactly: value).map(String.init) ?? value.description
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var output = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": output += "\\\\"
      case "\n": output += "\\n"
      case "\"" where quotes: output += "\\\""
      default: output.unicodeScalars.append(scalar)
      }
    }
    return output
  }
}
