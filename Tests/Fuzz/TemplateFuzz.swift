// modules: Tokenizers
// Compiled with the module's own sources by Deploy/scripts/fuzz.sh.

/// A chat template, a zero byte, and the JSON object of what it is given; without it, a small conversation.
///
/// Whatever it is, it gives a text within the limits or a reason with a line of the template.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
  let source = String(decoding: parts[0], as: UTF8.self)
  var context = conversation
  if parts.count > 1, case .object(let members)? = try? TemplateValue(json: Array(parts[1])) {
    context = members
  }
  let limits = ChatTemplate.Limits(steps: 20_000, outputBytes: 1 << 16)
  do throws(ChatTemplateError) {
    let text = try ChatTemplate(source).render(context, limits: limits)
    precondition(text.utf8.count <= limits.outputBytes)
  } catch {
    precondition(error.line >= 1 && error.line <= source.utf8.count + 1)
  }
  return 0
}

/// Made anew for each input: the leak check cannot follow pointers that an enum of a global keeps with bits of its own.
private var conversation: [(name: String, value: TemplateValue)] {
  [
    (
      "messages",
      .list([
        .object([("role", .string("user")), ("content", .string(" Hi, Wörld \n"))]),
        .object([
          ("role", .string("assistant")), ("content", .null), ("n", .integer(-7)), ("f", .number(2.5)),
        ]),
      ])
    ), ("tools", .null), ("add_generation_prompt", .bool(true)), ("bos_token", .string("<s>")),
  ]
}
