internal import Adapters
internal import Models
internal import Serving
internal import Training

/// A job as OpenAI writes it.
extension JSONWriter {
  mutating func fineTuningJob(_ job: JobSummary, on family: ModelFamily) {
    let settings = (try? JSONReader.read(Array(job.settingsJSON.utf8))) ?? .null
    object { writer in
      writer.member("id", job.id)
      writer.member("object", "fine_tuning.job")
      writer.member("created_at", UnixTime.seconds(job.createdAt))
      writer.member("finished_at", job.finishedAt.flatMap(UnixTime.seconds))
      writer.member("status", job.state.rawValue)
      writer.member("model", settings["from"]?.string ?? Names.base)
      writer.member("fine_tuned_model", Self.model(job))
      writer.member("training_file", job.dataset ?? "")
      writer.member("validation_file", nil as String?)
      writer.member("result_files", [])
      writer.member("organization_id", job.createdBy)
      writer.name("hyperparameters")
      writer.hyperparameters(settings, on: family)
      writer.name("method")
      writer.object { writer in
        writer.member("type", "supervised")
        writer.name("supervised")
        writer.object {
          $0.name("hyperparameters")
          $0.hyperparameters(settings, on: family)
        }
      }
      writer.member("seed", settings["seed"]?.number?.integer ?? 0)
      writer.member("trained_tokens", nil as Int?)
      writer.member("estimated_finish", nil as Int?)
      writer.member("integrations", [])
      writer.name("metadata")
      writer.null()
      writer.name("error")
      if let error = job.error {
        writer.object {
          $0.member("code", error.code)
          $0.member("message", error.detail)
          $0.member("param", nil as String?)
        }
      } else {
        writer.null()
      }
    }
  }

  /// `task@3`, which names the version whatever is published after it.
  private static func model(_ job: JobSummary) -> String? {
    guard let task = job.task, let version = job.version else { return nil }
    return ModelName(task: task, version: version).text
  }

  private mutating func hyperparameters(_ settings: JSONValue, on family: ModelFamily) {
    object { writer in
      writer.member("n_epochs", settings["epochs"]?.number?.integer)
      writer.member("batch_size", settings["batch_size"]?.number?.integer)
      writer.member("learning_rate_multiplier", Self.rateMultiplier(settings, on: family))
    }
  }

  /// The rate over the default of the job's kind and method, to six digits: rates are float32.
  private static func rateMultiplier(_ settings: JSONValue, on family: ModelFamily) -> Double? {
    guard let kind = settings["kind"]?.string.flatMap(TaskKind.init(rawValue:)),
      let method = settings["method"]?.string, let rate = settings["learning_rate"]?.number?.double
    else { return nil }
    let usual = Double(TrainingSettings.defaults(kind: kind, method: method, on: family).learningRate)
    return Double(Float((rate / usual * 1e6).rounded() / 1e6).description)
  }

  mutating func fineTuningEvent(_ event: JobEvent, of job: String) {
    let data = (try? JSONReader.read(Array(event.dataJSON.utf8))) ?? .null
    object { writer in
      writer.member("id", FineTuningCursor.text(job, event.id))
      writer.member("object", "fine_tuning.job.event")
      writer.member("created_at", UnixTime.seconds(event.createdAt) ?? 0)
      writer.member("level", event.kind == "error" || data["state"]?.string == "failed" ? "error" : "info")
      writer.member("message", Self.message(event.kind, data))
      writer.member("type", event.kind == "step" || event.kind == "epoch" ? "metrics" : "message")
      writer.name("data")
      writer.value(data)
    }
  }

  private static func message(_ kind: String, _ data: JSONValue) -> String {
    switch kind {
    case "state": "The job is \(data["state"]?.string ?? "unknown")."
    case "step":
      "Step \(data["step"]?.number?.text ?? "") of \(data["steps"]?.number?.text ?? ""):"
        + " training loss \(data["loss"]?.number?.text ?? "")."
    case "epoch": "The validation rows were measured."
    case "checkpoint": "Checkpoint at step \(data["step"]?.number?.text ?? "")."
    default: kind
    }
  }

  mutating func fineTuningCheckpoint(_ checkpoint: JobCheckpoint, of job: String) {
    object { writer in
      writer.member("id", FineTuningCursor.text(job, Int64(checkpoint.step)))
      writer.member("object", "fine_tuning.job.checkpoint")
      writer.member("created_at", UnixTime.seconds(checkpoint.createdAt) ?? 0)
      writer.member("fine_tuning_job_id", job)
      writer.member("fine_tuned_model_checkpoint", "\(job)@\(checkpoint.step)")
      writer.member("step_number", checkpoint.step)
      writer.name("metrics")
      writer.object {
        $0.member("step", checkpoint.step)
        $0.member("train_loss", checkpoint.loss)
      }
    }
  }
}

/// Ids of a job's events and checkpoints: the job's, and a number.
enum FineTuningCursor {
  static func text(_ job: String, _ number: Int64) -> String { "\(job)-\(number)" }

  /// nil where it is not of that job.
  static func number(_ text: String, of job: String) -> Int64? {
    guard text.hasPrefix(job + "-") else { return nil }
    let digits = text.dropFirst(job.count + 1)
    return !digits.isEmpty && digits.utf8.allSatisfy(isDigit) ? Int64(digits) : nil
  }
}
