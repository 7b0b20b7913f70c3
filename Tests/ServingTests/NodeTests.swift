import Adapters
import Foundation
import Models
import Serving
import Testing
import Training

@Suite(.serialized) struct NodeTests {
  @Test func aTrainedTaskAnswersAndNamesItsVersion() async throws {
    try await withNode { node in
      let job = try await node.learn("topics")
      #expect(job.state == .succeeded, "\(String(describing: job.error))")
      #expect(job.version == 1)
      let (label, _, source) = try await node.label("the door is red", task: "topics")
      #expect(label == "colour")
      #expect(source.version == 1)
      let found1 = try await node.label("we eat soup tonight", task: "topics").label
      #expect(found1 == "food")
      let task = try await node.task("topics")
      #expect(task.labels == ["colour", "food"])
      #expect(task.active?.job == job.id)
    }
  }

  @Test(arguments: ["lora", "cora-init"]) func everyMethodPublishes(method: String) async throws {
    try await withNode { node in
      let job = try await node.learn("topics", method: method)
      #expect(job.state == .succeeded, "\(String(describing: job.error))")
      let found2 = try await node.label("the door is red", task: "topics").label
      #expect(found2 == "colour")
    }
  }

  @Test func equalJobsGiveEqualBytes() async throws {
    try await withNode { node in
      _ = try await node.learn("a")
      _ = try await node.learn("b")
      let left3 = try await node.task("a").active?.digest
      let right3 = try await node.task("b").active?.digest
      #expect(left3 == right3)
    }
  }

  @Test func anUnknownTaskIsNeverAnsweredByTheBase() async throws {
    try await withNode { node in
      await #expect {
        _ = try await node.label("text", task: "nobody")
      } throws: { error in
        guard case .notFound(.task, "nobody") = error as? ServingError else { return false }
        return true
      }
    }
  }

  @Test func activateAndRollbackMoveThePointer() async throws {
    try await withNode { node in
      _ = try await node.learn("topics")
      let second = try await node.learn("topics", activate: .never, seed: 1)
      #expect(second.version == 2)
      let found4 = try await node.task("topics").activeVersion
      #expect(found4 == 1)
      await #expect {
        _ = try await node.activate(task: "topics", version: 2, expected: 7, principal: .anonymous)
      } throws: { error in
        guard case .versionConflict(active: 1) = error as? ServingError else { return false }
        return true
      }
      _ = try await node.activate(task: "topics", version: 2, expected: 1, principal: .anonymous)
      let found5 = try await node.label("a red door", task: "topics").source.version
      #expect(found5 == 2)
      let found6 = try await node.label("a red door", task: "topics", version: 1).source.version
      #expect(found6 == 1)
      _ = try await node.rollback(task: "topics", principal: .anonymous)
      let found7 = try await node.label("a red door", task: "topics").source.version
      #expect(found7 == 1)
      try await node.delete(version: 2, of: "topics")
      try await node.delete(task: "topics")
      await #expect(throws: ServingError.self) { _ = try await node.label("a red door", task: "topics") }
      let found8 = try await node.learn("topics").version
      #expect(found8 == 3)
    }
  }

  @Test func aTaskOfAnotherKindIsRefusedBeforeItAnswers() async throws {
    try await withNode { node in
      _ = try await node.learn("topics", epochs: 1)
      let before = await node.metrics().rowsAnswered
      do throws(ServingError) {
        _ = try await node.infer(
          task: "topics", of: .embedding, taskPointer: "/model", inputs: InferenceInputs(["a", "b"]),
          options: InferenceOptions(), timeoutMilliseconds: nil, principal: .anonymous)
        Issue.record("a classification gives embeddings")
      } catch {
        guard case .validation(let errors) = error else {
          Issue.record("\(error)")
          return
        }
        #expect(errors.map(\.pointer) == ["/model"] && errors.map(\.detail) == ["is of kind classification"])
        #expect(errors.first?.allowed == "base and tasks of kind embedding")
      }
      let after = await node.metrics().rowsAnswered
      #expect(after == before)
      let base = try await node.infer(
        task: "base", of: .embedding, taskPointer: "/model", inputs: InferenceInputs(["a"]),
        options: InferenceOptions(), timeoutMilliseconds: nil, principal: .anonymous)
      #expect(base.count == 1)
    }
  }

  @Test func aRowOfAMixedBatchEqualsTheRowAlone() async throws {
    try await withNode { node in
      _ = try await node.learn("shared")
      _ = try await node.learn("private", method: "lora")
      let tasks = ["shared", "base", "private", "shared", "private", "base"]
      let items = tasks.enumerated().map { index, task in
        var options = InferenceOptions()
        options.normalize = index < 5
        return InferenceItem(task: task, options: options)
      }
      let texts = tasks.indices.map { "row \($0) is \(tasks[$0])" }
      let mixed = try await node.infer(
        items: items, inputs: InferenceInputs(texts), timeoutMilliseconds: nil, principal: .anonymous)
      for (index, item) in items.enumerated() {
        let alone = try await node.infer(
          items: [item], inputs: InferenceInputs([texts[index]]), timeoutMilliseconds: nil,
          principal: .anonymous)
        #expect(alone.predictions[0] == mixed.predictions[index], "row \(index), \(item.task)")
        #expect(mixed.source(index).task == item.task)
      }
    }
  }

  @Test func aStoreOpenedAgainAnswersTheSame() async throws {
    let store = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID()).sqlite").path
    defer {
      for suffix in ["", "-wal", "-shm", ".lock"] {
        try? FileManager.default.removeItem(atPath: store + suffix)
      }
    }
    let before = try await withNode(store: store) { node in
      _ = try await node.learn("topics")
      return try await node.label("the door is red", task: "topics").prediction
    }
    try await withNode(store: store) { node in
      let found9 = try await node.label("the door is red", task: "topics").prediction
      #expect(found9 == before)
    }
  }

  @Test func aPausedJobGoesOnToTheSameBytes() async throws {
    try await withNode { node in
      _ = try await node.learn("whole", epochs: 12)
      let job = try await node.start("paused", epochs: 12)
      var state = try await node.job(job.id)
      while state.loss == nil, !state.state.isFinal { state = try await node.job(job.id) }
      do {
        let paused = try await node.pause(job: job.id)
        #expect(paused.state == .paused && paused.loss != nil)
        let kept = try await node.checkpoints(of: job.id)
        #expect(!kept.isEmpty && kept.allSatisfy { $0.loss != nil })
        let found10 = try await node.resume(job: job.id).state
        #expect(found10 == .queued)
      } catch ServingError.jobState(let state) {
        Issue.record("the job had ended (\(state)) before it could be paused")
      }
      let found11 = try await node.finished(job.id).state
      #expect(found11 == .succeeded)
      let left12 = try await node.task("paused").active?.digest
      let right12 = try await node.task("whole").active?.digest
      #expect(left12 == right12)
    }
  }

  @Test func aCancelledJobPublishesNothing() async throws {
    try await withNode { node in
      let job = try await node.start("never", epochs: 200)
      let found13 = try await node.cancel(job: job.id).state
      #expect(found13 == .cancelled)
      await #expect(throws: ServingError.self) { _ = try await node.task("never") }
    }
  }

  @Test func theSameKeyGivesTheSameJob() async throws {
    try await withNode { node in
      let first = try await node.start("topics", idempotencyKey: "k")
      let found14 = try await node.start("topics", idempotencyKey: "k").id
      #expect(found14 == first.id)
      await #expect {
        _ = try await node.start("topics", seed: 9, idempotencyKey: "k")
      } throws: { error in
        guard case .idempotencyConflict = error as? ServingError else { return false }
        return true
      }
      _ = try await node.finished(first.id)
    }
  }

  @Test func anAcceptedRequestIsKnownWhenItsDataSetIsGone() async throws {
    try await withNode { node in
      let upload = try await node.beginDataset(name: "rows", kind: .classification, principal: .anonymous)
      try await upload.append(Rows.colours)
      let dataset = try await upload.finish().id
      let request = TrainingRequest(
        task: "topics", data: .dataset(id: dataset),
        settings: .defaults(kind: .classification, method: "cora", on: .encoder), subspace: nil,
        activate: .always, from: nil, idempotencyKey: "k", requestDigest: "d")
      func known(_ key: String, _ digest: String) async throws -> String? {
        try await node.accepted(under: key, requestDigest: digest, principal: .anonymous)?.id
      }
      let before = try await known("k", "d")
      #expect(before == nil)
      let job = try await node.train(request, principal: .anonymous).id
      _ = try await node.cancel(job: job)
      try await node.deleteDataset(dataset)
      let after = try await known("k", "d")
      #expect(after == job)
      let again = try await node.train(request, principal: .anonymous).id
      #expect(again == job)
      let other = try await known("l", "d")
      #expect(other == nil)
      await #expect {
        _ = try await known("k", "e")
      } throws: { error in
        guard case .idempotencyConflict = error as? ServingError else { return false }
        return true
      }
    }
  }

  @Test func whatTrainingWouldRefuseIsRefusedAtOnce() async throws {
    try await withNode { node in
      await #expect(throws: ServingError.self) {
        _ = try await node.start(
          "one", rows: (0..<8).map { .classification(text: "row \($0)", label: "same") })
      }
      await #expect(throws: ServingError.self) { _ = try await node.start("one", rows: []) }
      let found15 = try await node.jobs(type: nil, state: nil, task: nil, after: nil, limit: 10).elements
        .isEmpty
      #expect(found15)
    }
  }

  @Test func aStartThatDoesNotFitIsRefusedAtOnce() async throws {
    try await withNode { node in
      _ = try await node.learn("topics", epochs: 1)
      func start(_ method: String, _ change: @escaping (inout TrainingSettings) -> Void) async throws {
        _ = try await node.start("topics", method: method, from: ("topics", 1), change: change)
      }
      let changes: [(inout TrainingSettings) -> Void] = [
        { $0.rank = 2 }, { $0.alpha = 4 }, { $0.sites = [] }, { $0.pooling = .cls },
        { $0.headDense = .fresh },
      ]
      for change in changes {
        await #expect {
          try await start("cora", change)
        } throws: { error in
          guard case .validation(let errors) = error as? ServingError else { return false }
          return errors.map(\.pointer) == ["/from"]
        }
      }
      await #expect(throws: ServingError.self) { try await start("lora") { _ in } }
      let jobs = try await node.jobs(type: nil, state: nil, task: nil, after: nil, limit: 10).elements
      #expect(jobs.count { $0.type == .train } == 1)
    }
  }

  @Test func aSubspaceGrowsFromPrivateVersionsAndNotFromShared() async throws {
    try await withNode { node in
      _ = try await node.learn("lone", method: "lora")
      _ = try await node.learn("shared")
      func request(_ task: String) -> SubspaceRequest {
        SubspaceRequest(
          name: "grown", source: .adapters, checkpoints: [], versions: [(task, 1)], scope: .site, rank: 4,
          center: false, seed: 0, makeDefault: true)
      }
      await #expect {
        _ = try await node.makeSubspace(request("shared"), principal: .anonymous)
      } throws: { error in
        guard case .subspaceNotGrown = error as? ServingError else { return false }
        return true
      }
      let job = try await node.makeSubspace(request("lone"), principal: .anonymous)
      let found16 = try await node.finished(job.id).state
      #expect(found16 == .succeeded)
      let grown = try await node.subspace("default")
      #expect(grown.name == "grown" && grown.isDefault)
      let found17 = try await node.learn("topics").state
      #expect(found17 == .succeeded)
      let found18 = try await node.label("the door is red", task: "shared").label
      #expect(found18 == "colour")
    }
  }

  @Test func subspacesThatAreNotUsedLeave() async throws {
    // A limit of one: no two fit.
    try await withNode(store: nil, { $0.subspaceCacheBytes = 1 }) { node in
      func bytes() async -> Int { await node.metrics().residentSubspaceBytes }
      let alone = await bytes()
      #expect(alone > 0)
      var before: [String: Prediction] = [:]
      for (name, rank) in [("default", 16), ("first", 16), ("second", 4)] {
        if name != "default" {
          let job = try await node.makeSubspace(
            SubspaceRequest(
              name: name, source: .random, checkpoints: [], versions: [], scope: .site, rank: rank,
              center: false, seed: 0, makeDefault: false), principal: .anonymous)
          let state = try await node.finished(job.id).state
          #expect(state == .succeeded)
        }
        let job = try await node.start("on-\(name)", subspace: name)
        let state = try await node.finished(job.id).state
        #expect(state == .succeeded)
        before[name] = try await node.label("the door is red", task: "on-\(name)").prediction
      }
      // The default one and the last.
      let smallest = await bytes() - alone
      #expect(smallest > 0)
      let first = try await node.label("the door is red", task: "on-first").prediction
      #expect(first == before["first"])
      let larger = await bytes() - alone
      #expect(larger > smallest)
      let others = [
        "default": try await node.label("the door is red", task: "on-default").prediction,
        "second": try await node.label("the door is red", task: "on-second").prediction,
      ]
      #expect(others == before.filter { $0.key != "first" })
      let again = await bytes() - alone
      #expect(again == smallest)
    }
  }

  @Test func anEncoderDoesNotWriteAndAnUnknownTaskIsNotThere() async throws {
    try await withNode { node in
      func refusal(_ task: String, version: Int? = nil) async -> ServingError? {
        var options = WritingOptions()
        options.version = version
        let request = WritingRequest(
          task: task, prompt: .text("a"), options: options, pointer: "/prompt", taskPointer: "/model",
          optionsPointer: "")
        do throws(ServingError) {
          _ = try await node.write(request, timeoutMilliseconds: nil, principal: .anonymous)
          return nil
        } catch {
          return error
        }
      }
      guard case .notImplemented? = await refusal("base") else {
        Issue.record("an encoder writes")
        return
      }
      guard case .notFound(.task, id: "none")? = await refusal("none"),
        case .notFound(.version, _)? = await refusal("base", version: 1)
      else {
        Issue.record("an unknown task is there")
        return
      }
    }
  }

  @Test func rowsComeBackAsTheyWereUploaded() async throws {
    try await withNode { node in
      let upload = try await node.beginDataset(name: "rows", kind: .classification, principal: .anonymous)
      try await upload.append(Array(Rows.colours[..<20]))
      try await upload.append(Array(Rows.colours[20...]))
      let id = try await upload.finish().id
      var found: [TrainingExample] = []
      var next: Int? = 0
      while let row = next {
        let rows = try await node.rows(of: id, from: row)
        found += rows.rows
        next = rows.next
      }
      #expect(found == Rows.colours)
      await #expect(throws: ServingError.self) { _ = try await node.rows(of: "none", from: 0) }
    }
  }

  @Test func theConfiguredTimeBoundsEveryRequest() async throws {
    try await withNode(store: nil, { $0.requestTimeoutMilliseconds = 400_000 }) { node in
      for milliseconds in [350_000, Int.max] {
        let result = try await node.infer(
          task: "base", inputs: InferenceInputs(["text"]), options: InferenceOptions(),
          timeoutMilliseconds: milliseconds, principal: .anonymous)
        #expect(result.count == 1)
      }
    }
    try await withNode(store: nil, { $0.requestTimeoutMilliseconds = 0 }) { node in
      await #expect {
        _ = try await node.infer(
          task: "base", inputs: InferenceInputs(["text"]), options: InferenceOptions(),
          timeoutMilliseconds: 350_000, principal: .anonymous)
      } throws: { error in
        guard case .deadlineExceeded(milliseconds: 0) = error as? ServingError else { return false }
        return true
      }
    }
  }

  @Test func aFullQueueRefusesBeforeItTokenises() async throws {
    try await withNode(store: nil, { $0.queueRows = 2 }) { node in
      let inputs = InferenceInputs(["text", "text", "text"])
      await #expect {
        _ = try await node.infer(
          task: "base", inputs: inputs, options: InferenceOptions(), timeoutMilliseconds: nil,
          principal: .anonymous)
      } throws: { error in
        guard case .overloaded(_, limit: 2, _) = error as? ServingError else { return false }
        return true
      }
    }
  }

  @Test func aTextAboveTheLimitIsNamedWithBothNumbers() async throws {
    try await withNode { node in
      let inputs = InferenceInputs([String(repeating: "word ", count: 2_000)])
      await #expect {
        _ = try await node.infer(
          task: "base", inputs: inputs, options: InferenceOptions(), timeoutMilliseconds: nil,
          principal: .anonymous)
      } throws: { error in
        guard case .textTooLong("/inputs/0", tokens: 2_002, limit: 256) = error as? ServingError else {
          return false
        }
        return true
      }
    }
  }
}
