internal import Adapters
internal import Models
internal import Serving

/// The listed and shown things as JSON.
extension JSONWriter {
  /// `{"items": […], "next": …}`.
  static func page<Element>(
    _ page: Page<Element>, _ body: (inout JSONWriter, Element) -> Void
  ) -> [UInt8] {
    object { writer in
      writer.name("items")
      writer.array(page.elements, body)
      writer.member("next", page.next)
    }
  }

  mutating func task(_ task: TaskSummary, versions: [VersionSummary]? = nil) {
    object { writer in
      writer.member("task", task.name)
      writer.member("kind", task.kind.rawValue)
      writer.member("labels", task.labels)
      writer.member("active_version", task.activeVersion)
      writer.name("active")
      if let active = task.active { writer.version(active) } else { writer.null() }
      writer.member("version_count", task.versionCount)
      writer.member("bytes", task.bytes)
      writer.member("served", task.isServed)
      writer.member("created_at", task.createdAt)
      writer.member("created_by", task.createdBy)
      if let versions {
        writer.name("versions")
        writer.array(versions) { $0.version($1) }
      }
    }
  }

  mutating func version(_ version: VersionSummary) {
    object { writer in
      writer.member("version", version.version)
      writer.member("digest", version.digest)
      writer.member("method", version.method)
      writer.member("rank", version.rank)
      writer.member("alpha", version.alpha)
      writer.member("sites", version.sites)
      writer.member("subspace", version.subspace)
      writer.member("base", version.base)
      writer.member("bytes", version.bytes)
      writer.member("metrics", raw: version.metricsJSON)
      writer.member("job", version.job)
      writer.member("created_at", version.createdAt)
      writer.member("created_by", version.createdBy)
    }
  }

  mutating func dataset(_ dataset: DatasetSummary) {
    object { writer in
      writer.member("id", dataset.id)
      writer.member("name", dataset.name)
      writer.member("kind", dataset.kind.rawValue)
      writer.member("rows", dataset.rows)
      writer.member("bytes", dataset.bytes)
      writer.member("created_at", dataset.createdAt)
      writer.member("created_by", dataset.createdBy)
    }
  }

  mutating func job(_ job: JobSummary) {
    object { writer in
      writer.member("id", job.id)
      writer.member("type", job.type.rawValue)
      writer.member("state", job.state.rawValue)
      writer.member("task", job.task)
      writer.member("method", job.method)
      writer.member("settings", raw: job.settingsJSON)
      writer.member("progress", job.progress)
      writer.member("epoch", job.epoch)
      writer.member("step", job.step)
      writer.member("steps", job.steps)
      writer.member("loss", job.loss)
      writer.member("examples_per_second", job.examplesPerSecond)
      writer.member("seconds_left", job.secondsLeft)
      writer.member("metrics", raw: job.metricsJSON)
      writer.member("version", job.version)
      writer.member("subspace", job.subspace)
      writer.name("error")
      if let error = job.error {
        writer.object {
          $0.member("code", error.code)
          $0.member("detail", error.detail)
        }
      } else {
        writer.null()
      }
      writer.member("created_at", job.createdAt)
      writer.member("started_at", job.startedAt)
      writer.member("finished_at", job.finishedAt)
      writer.member("created_by", job.createdBy)
    }
  }

  /// - Parameter withSites: singular values and energy of each site.
  mutating func subspace(_ subspace: SubspaceSummary, withSites: Bool) {
    object { writer in
      writer.member("id", subspace.id)
      writer.member("name", subspace.name)
      writer.member("digest", subspace.digest)
      writer.member("base", subspace.base)
      writer.member("source", subspace.source.rawValue)
      writer.member("scope", subspace.scope.rawValue)
      writer.member("center", subspace.center)
      writer.member("rank", subspace.rank)
      writer.member("default", subspace.isDefault)
      writer.member("bytes", subspace.bytes)
      writer.member("created_at", subspace.createdAt)
      writer.member("created_by", subspace.createdBy)
      guard withSites else { return }
      writer.name("sites")
      writer.array(subspace.sites) { writer, site in
        writer.object {
          $0.member("name", site.name)
          $0.member("outputs", site.outputs)
          $0.member("rank", site.rank)
          $0.name("singular_values")
          $0.array(site.singularValues) { $0.value($1) }
          $0.member("energy_kept", site.energyKept)
        }
      }
    }
  }

  mutating func base(_ base: BaseSummary) {
    object { writer in
      writer.member("digest", base.digest)
      writer.member("architecture", base.architecture)
      writer.member("family", base.family.rawValue)
      writer.member("parameters", base.parameters)
      writer.member("dtype", base.elementType)
      writer.member("weights", base.weights.rawValue)
      writer.member("width", base.width)
      writer.member("layers", base.layers)
      writer.member("heads", base.heads)
      writer.member("context_tokens", base.contextTokens)
      writer.member("resident_bytes", base.residentBytes)
      writer.name("sites")
      writer.array(base.sites) { writer, site in
        writer.object {
          $0.member("name", site.name)
          $0.member("inputs", site.inputs)
          $0.member("outputs", site.outputs)
        }
      }
    }
  }
}
