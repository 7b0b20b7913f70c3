import Models
import Tensors
import Testing

@testable import Adapters

/// A batch's answer equals each row served alone, bit for bit, and a slow Double loop.
struct BatchPatchTests {
  enum Popularity: String, CaseIterable, Sendable {
    case identical, distinct, uniform, zipf, skewed

    /// A task for each of `rows` requests.
    func tasks(_ rows: Int, _ random: inout RandomSource) -> [Int] {
      (0..<rows).map { row in
        switch self {
        case .identical: 0
        case .distinct: row
        case .uniform: random.below(8)
        case .zipf: min(Int(1 / (random.uniform() + 0.02)), 40)
        case .skewed: random.below(10) == 0 ? 1 + random.below(5) : 0
        }
      }
    }
  }

  /// One task: its version, what is resident of it, and the B it uses.
  private struct Task {
    let version: AdapterVersion
    let resident: ResidentAdapter
    let subspace: Subspace?
    let residentSubspace: ResidentSubspace?
  }

  private struct Row {
    let task: Int?
    let x: [Float]
  }

  /// Sites whose inputs are of one width, so that they may share a shrink.
  private static let sites = Array(Fixture.sites[0..<3])

  private static func run(
    _ rows: [Row], tasks: [Int: Task], primary: ResidentSubspace, weights: [PackedWeights]
  ) -> [Matrix] {
    var groups: [RowGroup] = []
    var start = 0
    while start < rows.count {
      var end = start
      while end < rows.count, rows[end].task == rows[start].task { end += 1 }
      let task = rows[start].task.flatMap { tasks[$0] }
      groups.append(RowGroup(rows: start..<end, adapter: task?.resident, subspace: task?.residentSubspace))
      start = end
    }
    let arena = Arena()
    return arena.scope {
      let patch = BatchPatch(sites: sites, groups: groups, primary: primary)
      let x = arena.matrix(
        copying: Matrix(rows: rows.count, columns: Fixture.width, values: rows.flatMap(\.x)))
      patch.prepare(0..<3, input: x, arena: arena)
      return sites.indices.map { site in
        let y = arena.matrix(rows.count, Fixture.width)
        let extra = patch.shrink(site, input: x, arena: arena)
        weights[site].multiply(x, bias: nil, extra: extra, accumulate: false, into: y)
        patch.expand(site, output: y, arena: arena)
        return Matrix(y)
      }
    }
  }

  @Test(arguments: Popularity.allCases, [1, 4, 16, 33])
  func batchEqualsRowsAloneAndSlowLoop(_ popularity: Popularity, _ rank: Int) throws {
    let seed: UInt64 = 7
    print("seed \(seed)")
    var random = RandomSource(seed: seed, stream: UInt64(rank))
    let sites = Self.sites
    let primary = try Fixture.subspace(seed: 1, sites: sites)
    let foreign = try Fixture.subspace(seed: 2, sites: sites)
    let residentPrimary = try ResidentSubspace(primary, sites: sites)
    let residentForeign = try ResidentSubspace(foreign, sites: sites)
    let weights = sites.map { random.matrix($0.outputs, $0.inputs, scale: 0.2) }
    let packed = weights.map { PackedWeights($0) }

    for rowCount in [1, 2, 3, 4, 7, 10, 16, 33, 64, 133] {
      for hasBaseRows in [false, true] {
        let assigned = popularity.tasks(rowCount, &random)
        var tasks: [Int: Task] = [:]
        for task in Set(assigned).sorted() {
          // Every fourth task has its own B, every fifth another subspace; ranks and sites differ.
          let own = task % 4 == 3
          let other = task % 5 == 4 && !own
          let subspace = own ? nil : other ? foreign : primary
          let kinds: [SiteKind] = task % 3 == 2 ? [.query, .key, .value] : [.query, .value]
          let version = Fixture.version(
            seed: UInt64(100 + task), rank: task % 7 == 6 ? max(1, rank / 2) : rank, kinds: kinds,
            subspace: subspace, sites: sites)
          tasks[task] = Task(
            version: version, resident: try ResidentAdapter(version, sites: sites), subspace: subspace,
            residentSubspace: own ? nil : other ? residentForeign : residentPrimary)
        }
        var rows = assigned.sorted().map { task in
          Row(task: task, x: (0..<Fixture.width).map { _ in random.normal() })
        }
        if hasBaseRows {
          let bare = (0..<2).map { _ in Row(task: nil, x: (0..<Fixture.width).map { _ in random.normal() }) }
          rows = [bare[0]] + rows + [bare[1]]
        }
        let batch = Self.run(rows, tasks: tasks, primary: residentPrimary, weights: packed)
        for (index, row) in rows.enumerated() {
          let alone = Self.run([row], tasks: tasks, primary: residentPrimary, weights: packed)
          for site in sites.indices {
            let mine = batch[site].values[index * Fixture.width..<(index + 1) * Fixture.width]
            #expect(Array(mine) == alone[site].values, "row \(index) of \(rows.count), site \(site)")
            // The loop is slow in a debug build: of long batches it takes every seventh row.
            guard rows.count <= 16 || index % 7 == 0 else { continue }
            let slow = Self.slow(row, site, tasks, weights)
            let worst = zip(mine, slow).map { abs(Double($0) - $1) }.max() ?? 0
            #expect(
              worst < Tolerance.product * max(1, slow.map(abs).max() ?? 1), "row \(index), site \(site)")
          }
        }
      }
    }
  }

  private static func slow(_ row: Row, _ site: Int, _ tasks: [Int: Task], _ weights: [Matrix]) -> [Double] {
    let x = row.x.map(Double.init)
    var y = slowNT([x], weights[site])[0]
    let name = sites[site].name
    guard let task = row.task.flatMap({ tasks[$0] }), let update = task.version.updates[name],
      let basis = update.privateBasis ?? task.subspace?.sites[name]?.basis
    else { return y }
    let z = slowNT([x], update.coefficients, scale: Double(task.version.scale))[0]
    let change = slowNT([z], basis, columns: z.count)[0]
    for index in y.indices { y[index] += change[index] }
    return y
  }

  @Test func twoTasksShareOneBasis() throws {
    let sites = Fixture.sites
    let subspace = try Fixture.subspace(seed: 3)
    let resident = try ResidentSubspace(subspace, sites: sites)
    let first = try ResidentAdapter(Fixture.version(seed: 1, rank: 4, subspace: subspace), sites: sites)
    let second = try ResidentAdapter(Fixture.version(seed: 2, rank: 4, subspace: subspace), sites: sites)
    let a = 2 * 2 * 4 * Fixture.width * MemoryLayout<Float>.stride
    let head = (3 * Fixture.width + 3) * MemoryLayout<Float>.stride
    #expect(first.bytes == a + head, "a task's bytes are A and head, no B")
    #expect(second.bytes == first.bytes)

    let arena = Arena()
    let groups = [
      RowGroup(rows: 0..<1, adapter: first, subspace: resident),
      RowGroup(rows: 1..<2, adapter: second, subspace: resident),
    ]
    let patch = BatchPatch(sites: sites, groups: groups, primary: resident)
    let x = arena.matrix(2, Fixture.width)
    x.fill(1)
    let shared = try #require(patch.shrink(0, input: x, arena: arena))
    #expect(shared.columns === resident.columns[0])
    #expect(shared.z.rows == 2)
  }

  @Test func coefficientsLieInputByInput() throws {
    let sites = Fixture.sites
    let version = Fixture.version(
      seed: 4, rank: 3, kinds: [.query, .value, .output], subspace: try Fixture.subspace(seed: 3))
    let resident = try ResidentAdapter(version, sites: sites)
    for (range, members) in [(0..<3, [0, 2]), (0..<1, [0]), (2..<3, [2]), (5..<6, [5]), (7..<10, [7, 9])] {
      let found = try #require(resident.coefficients(of: range))
      #expect(found.rows == sites[members[0]].inputs && found.columns == 3 * members.count)
      for (place, site) in members.enumerated() {
        let alone = try #require(resident.coefficients(site))
        let a = try #require(version.updates[sites[site].name]?.coefficients)
        for row in 0..<3 {
          for input in 0..<sites[site].inputs {
            #expect(found[input, 3 * place + row] == version.scale * a[row, input])
            #expect(alone[input, row] == version.scale * a[row, input])
          }
        }
      }
    }
    #expect(resident.coefficients(of: 3..<5) == nil && resident.coefficients(1) == nil)
  }

  @Test func aZeroAdapterChangesNothing() throws {
    let sites = Self.sites
    let subspace = try Fixture.subspace(seed: 3, sites: sites)
    let resident = try ResidentSubspace(subspace, sites: sites)
    let trained = Fixture.version(seed: 1, rank: 4, subspace: subspace, sites: sites)
    let zero = AdapterVersion(
      kind: trained.kind, method: "cora", rank: 4, alpha: 8, base: trained.base, subspace: subspace.digest,
      updates: trained.updates.mapValues { update in
        SiteUpdate(coefficients: Matrix(zeros: update.coefficients.rows, update.coefficients.columns))
      }, head: trained.head)
    var random = RandomSource(seed: 5)
    let weights = sites.map { PackedWeights(random.matrix($0.outputs, $0.inputs)) }
    let task = Task(
      version: zero, resident: try ResidentAdapter(zero, sites: sites), subspace: subspace,
      residentSubspace: resident)
    let x = (0..<Fixture.width).map { _ in random.normal() }
    let with = Self.run([Row(task: 0, x: x)], tasks: [0: task], primary: resident, weights: weights)
    let without = Self.run([Row(task: nil, x: x)], tasks: [:], primary: resident, weights: weights)
    #expect(with == without)
  }
}
