internal import Adapters
internal import Engine
internal import Models
internal import Store

extension JobRunner {
  func makeSubspace(_ job: JobRecord, on node: Node) async throws(JobStop) {
    guard let request = JSONText.decode(StoredSubspaceRequest.self, job.request) else {
      throw .failed(code: "internal", detail: "The stored request does not decode.")
    }
    do throws(ServingError) {
      let subspace = try await extract(request, job, node)
      _ = try await node.keep(
        subspace, name: request.name, center: request.center, makeDefault: request.makeDefault,
        by: job.createdBy, job: job.id,
        finalEvent: #"{"state":"succeeded","subspace":"\#(subspace.digest)"}"#)
    } catch {
      if case .cancelled = error, let stop = interruption(job.id) { throw stop }
      throw JobStop(error)
    }
  }

  private func extract(
    _ request: StoredSubspaceRequest, _ job: JobRecord, _ node: Node
  ) async throws(ServingError) -> Subspace {
    let options = SubspaceOptions(
      scope: request.scope, rank: request.rank, centred: request.center, seed: request.seed)
    var versions: [AdapterVersion] = []
    for name in request.versions {
      guard let at = name.lastIndex(of: "@"), let version = Int(name[name.index(after: at)...]) else {
        throw .internal(cause: "the stored request names \(name)")
      }
      versions.append(try await node.adapterVersion(version, of: String(name[..<at])))
    }
    var checkpoints: [Checkpoint] = []
    do throws(ModelError) {
      for name in request.checkpoints {
        if name == "base" {
          checkpoints.append(node.checkpoint)
        } else if let directory = node.configuration.checkpoints[name] {
          checkpoints.append(try Checkpoint(directory: directory))
        } else {
          throw ModelError.unreadable(file: name, code: 2)
        }
      }
    } catch {
      throw .validation([FieldError("/checkpoints", "\(error)")])
    }
    let sources = (versions, checkpoints)
    let result = await node.lanes.run(.training) { [self] _ in
      Result { () throws(SubspaceError) in
        let (versions, checkpoints) = sources
        let goesOn: SubspaceExtraction.Progress = { _ in self.interruption(job.id) == nil }
        switch request.source {
        case .weights:
          return try SubspaceExtraction.weights(
            checkpoints, base: node.checkpoint, options: options, progress: goesOn)
        case .deltas:
          return try SubspaceExtraction.deltas(
            checkpoints, base: node.checkpoint, options: options, progress: goesOn)
        case .adapters:
          return try SubspaceExtraction.adapters(
            versions, sites: node.model.sites, base: node.model.digest, options: options, progress: goesOn
          )
        case .random:
          return try SubspaceExtraction.random(
            sites: node.model.sites, base: node.model.digest, options: options)
        }
      }
    }
    do throws(SubspaceError) { return try result.get() } catch { throw ServingError(error) }
  }
}
