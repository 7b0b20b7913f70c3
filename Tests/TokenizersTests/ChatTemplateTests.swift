import Foundation
import Testing
import Tokenizers

/// What a template may do to the process, and how the folder's files are read.
struct ChatTemplateTests {
  static func render(
    _ template: String, _ context: [(name: String, value: TemplateValue)] = [],
    limits: ChatTemplate.Limits = ChatTemplate.Limits()
  ) throws(ChatTemplateError) -> String {
    try ChatTemplate(template).render(context, limits: limits)
  }

  /// The attacks a template may try, and what each meets.
  @Test func adversary() {
    let forever = "{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}"
    let deepLists =
      "{% set ns = namespace(x=1) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}"
    let doubling =
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
    let doublingLists =
      "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}"
    let recursion = "{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}"
    let parentheses =
      String(repeating: "(", count: 100_000) + "1" + String(repeating: ")", count: 100_000) + " }}"
    let cases: [(name: String, template: String, isExpected: (ChatTemplateError) -> Bool)] = [
      ("a loop without end", forever, { if case .tooManySteps(1, _) = $0 { true } else { false } }),
      ("a text that doubles", doubling, { if case .tooMuchText(1, _) = $0 { true } else { false } }),
      ("a list that doubles", doublingLists, { if case .tooMuchText(1, _) = $0 { true } else { false } }),
      (
        "a long text at once", "{{ 'a' * 99999999999 }}",
        { if case .tooMuchText(1, _) = $0 { true } else { false } }
      ),
      (
        "a text longer than numbers go", "{{ 'abc' * 9223372036854775807 }}",
        { if case .tooMuchText = $0 { true } else { false } }
      ),
      ("lists within lists", deepLists, { if case .tooDeep(1, _) = $0 { true } else { false } }),
      ("a macro that calls itself", recursion, { if case .tooDeep(1, _) = $0 { true } else { false } }),
      ("parentheses", "{{ " + parentheses, { if case .tooDeep(1, _) = $0 { true } else { false } }),
      (
        "signs", "{{ " + String(repeating: "-", count: 100_000) + "1 }}",
        { if case .tooDeep = $0 { true } else { false } }
      ),
      (
        "blocks", String(repeating: "{% if 1 %}", count: 100_000),
        { if case .tooDeep = $0 { true } else { false } }
      ),
      (
        "replacing nothing", "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
        { if case .tooMuchText = $0 { true } else { false } }
      ),
      ("a great power", "{{ 9 ** 9999999999 }}", { if case .failed = $0 { true } else { false } }),
      ("a great number", "{{ 9223372036854775807 + 1 }}", { if case .failed = $0 { true } else { false } }),
      ("a number beyond", "{{ 99999999999999999999 }}", { if case .syntax = $0 { true } else { false } }),
      (
        "the least number divided", "{{ (0 - 9223372036854775807 - 1) // -1 }}",
        { if case .failed = $0 { true } else { false } }
      ),
      (
        "a great range", "{{ range(0, 9223372036854775807) }}",
        { if case .failed = $0 { true } else { false } }
      ),
      (
        "a long indent", "{{ [1] | tojson(indent=99999999999) * 99999999 }}",
        { if case .tooMuchText = $0 { true } else { false } }
      ),
      ("another template", "\n{% include 'a' %}", { $0 == .unknown(line: 2, name: "the statement include") }),
      ("a change of what is given", "{{ [1].append(2) }}", { if case .failed = $0 { true } else { false } }),
    ]
    for (name, template, isExpected) in cases {
      do throws(ChatTemplateError) {
        _ = try Self.render(template)
        Issue.record("\(name) gives a text")
      } catch {
        #expect(isExpected(error), "\(name): \(error)")
      }
    }
  }

  @Test func aHundredThousandBinaryOperatorsAreRunOrRefused() {
    // A chain to the left is as deep as it is long.
    let sum = "{{ " + Array(repeating: "1", count: 100_000).joined(separator: " + ") + " }}"
    #expect(throws: ChatTemplateError.self) { try Self.render(sum) }
  }

  @Test func namespacesAndMacrosThatHoldEachOtherAreLetGo() throws {
    let template = """
      {% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{% macro m() %}x{% endmacro %}
      {% set a.m = m %}{{ a.m() }}
      """
    for _ in 0..<100 { #expect(try Self.render(template) == "x") }
  }

  @Test func theReasonAndTheLineAreTold() {
    let cases: [(String, ChatTemplateError)] = [
      (
        "a\nb\n{{ raise_exception('roles must alternate') }}",
        .raised(line: 3, message: "roles must alternate")
      ),
      ("{% if a %}\n{{ a.b.c }}{% endif %}{{ x.y }}", .failed(line: 2, reason: "'x' is undefined")),
      ("{{ 'a'\n|\nnone_such }}", .unknown(line: 2, name: "the filter none_such")),
      ("\n\n{% for x in y %}", .syntax(line: 3, reason: "else or endfor is missing")),
      ("{#", .syntax(line: 1, reason: "a comment does not end")),
      ("{{ strftime_now('%Q') }}", .unknown(line: 1, name: "the format %Q")),
    ]
    for (template, expected) in cases {
      #expect(throws: expected, "\(template)") { try Self.render(template) }
    }
  }

  @Test func fewerStepsThanATemplateTakesAreTooFew() throws {
    let template = "{% for x in range(100) %}{{ x }}{% endfor %}"
    #expect(try Self.render(template).hasSuffix("9899"))
    #expect(throws: ChatTemplateError.tooManySteps(line: 1, limit: 50)) {
      try Self.render(template, limits: ChatTemplate.Limits(steps: 50))
    }
    #expect(throws: ChatTemplateError.tooMuchText(line: 1, limitBytes: 100)) {
      try Self.render(template, limits: ChatTemplate.Limits(outputBytes: 100))
    }
  }

  @Test func theFolderNamesTemplatesAndTokens() throws {
    let configuration = #"""
      {"add_bos_token":true,"bos_token":{"content":"<s>","lstrip":false},"eos_token":"</s>","pad_token":null,
      "chat_template":[{"name":"default","template":"{{ bos_token }}{{ messages[0].content is defined }}"},
      {"name":"tool_use","template":"tools"}]}
      """#
    let folder = try ChatTemplateFolder(configuration: Array(configuration.utf8), template: nil)
    #expect(folder.source(withTools: true) == "tools")
    #expect(folder.specialTokens.map(\.name) == ["bos_token", "eos_token"])
    let source = try #require(folder.source(withTools: false))
    let context = folder.context(
      messages: try TemplateValue(json: Array(#"[{"role":"assistant","content":null}]"#.utf8)), tools: nil,
      addsGenerationPrompt: true)
    #expect(try Self.render(source, context) == "<s>False")
    let file = try ChatTemplateFolder(configuration: Array(configuration.utf8), template: Array("x".utf8))
    #expect(file.source(withTools: false) == "x")
    #expect(try ChatTemplateFolder(configuration: nil, template: nil).source == nil)
  }

  @Test func aFolderThatIsWrongIsRefusedWithThePlace() throws {
    #expect(
      throws: TokenizerError.inConfiguration(.wrongType(path: "chat_template", expected: "a string"))
    ) { try ChatTemplateFolder(configuration: Array(#"{"chat_template":1}"#.utf8), template: nil) }
    let error = TokenizerError.inConfiguration(.missing(path: "chat_template[0].name"))
    #expect(error.description == "tokenizer_config.json lacks chat_template[0].name")
    #expect(throws: error) {
      try ChatTemplateFolder(configuration: Array(#"{"chat_template":[{}]}"#.utf8), template: nil)
    }
  }
}
