import Foundation
import HTTPClient
import HTTPWire
import TestSupport
import Testing

@testable import API

/// What a decoder base adds: texts, and what they are refused for.
enum WriterSteps {
  private static let template = """
    {%- for message in messages -%}
    {%- if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif -%}
    {{ message.role + ': ' + message.content + '\\n' }}
    {%- endfor -%}
    """

  static func base() throws -> MadeDecoder {
    try MadeDecoder(
      .withTokenizer, tokenizer: "qwen.json",
      files: [
        "generation_config.json": #"{"eos_token_id": [100000]}"#, "chat_template.jinja": template,
      ])
  }

  static func all(_ trial: Trial, _ url: String) throws {
    let native = "/adapters/base/infer"
    let whole = try trial.call(
      "inferAdapter", native, #"{"inputs": ["a", "b"], "parameters": {"max_tokens": 5, "seed": 1}}"#
    )
    #expect(whole["outputs"]?.array?.count == 2)
    #expect(whole["usage"]?["completion_tokens"]?.number?.integer == 10)
    try trial.call("getMetrics", "/metrics")
    try events(trial, url)

    let body = #""max_tokens":5,"seed":1"#
    try trial.call(
      "createCompletion", "/v1/completions",
      #"{"model":"base","prompt":["a","b"],\#(body),"logprobs":2}"#)
    let chat = #""model":"base","messages":[{"role":"user","content":"a"}]"#
    let said = try trial.call(
      "createChatCompletion", "/v1/chat/completions",
      "{\(chat),\(body),\"logprobs\":true,\"top_logprobs\":2}")
    #expect(said["choices"]?.array?.first?["logprobs"]?["content"]?.array?.count == 5)
    for (route, order, schema) in [
      ("completions", #""model":"base","prompt":"a""#, "CompletionChunk"),
      ("chat/completions", chat, "ChatCompletionChunk"),
    ] {
      var chunks: [ServerSentEvent] = []
      try HTTPClient(url: url).events(
        posting: Array(
          "{\(order),\(body),\"stream\":true,\"stream_options\":{\"include_usage\":true}}".utf8),
        to: "/v1/" + route, fields: [("Content-Type", "application/json")]
      ) {
        chunks.append($0)
        return true
      }
      #expect(chunks.popLast()?.data == Array("[DONE]".utf8))
      #expect(chunks.count > 2)
      for chunk in chunks {
        #expect(trial.contract.faults(try JSONReader.read(chunk.data), schema: schema) == [])
      }
    }
    try refusals(trial)
  }

  private static func events(_ trial: Trial, _ url: String) throws {
    var events: [ServerSentEvent] = []
    try HTTPClient(url: url).events(
      posting: Array(#"{"inputs": "a", "parameters": {"max_tokens": 9}, "stream": true}"#.utf8),
      to: "/adapters/base/infer", fields: [("Content-Type", "application/json")]
    ) {
      events.append($0)
      return true
    }
    let done = events.popLast()
    #expect(done?.event == "done")
    #expect(trial.contract.faults(try JSONReader.read(done?.data ?? []), schema: "WriterDone") == [])
    #expect(!events.isEmpty && events.allSatisfy { $0.event == "token" })
    for event in events {
      #expect(trial.contract.faults(try JSONReader.read(event.data), schema: "WriterToken") == [])
    }
  }

  private static func refusals(_ trial: Trial) throws {
    let tool = #"[{"role":"tool","content":"a","tool_call_id":"c"}]"#
    let failed = try trial.refused(
      .templateFailed, "inferAdapter", "/adapters/base/infer", #"{"inputs":{"messages":\#(tool)}}"#)
    #expect(failed["reason"]?.string == "no tools here" && failed["line"]?.number?.integer == 2)
    try trial.refused(
      .templateFailed, "createChatCompletion", "/v1/chat/completions",
      #"{"model":"base","messages":\#(tool)}"#)
    let text = String(repeating: "word ", count: 400)
    for (id, path, body) in [
      ("createCompletion", "/v1/completions", #"{"model":"base","prompt":"\#(text)"}"#),
      (
        "createChatCompletion", "/v1/chat/completions",
        #"{"model":"base","messages":[{"role":"user","content":"\#(text)"}]}"#
      ),
    ] {
      let long = try trial.refused(.textTooLong, id, path, body)
      #expect(long["limit"]?.number?.integer == 255 && long["tokens"]?.number?.integer ?? 0 > 255)
      try trial.refused(
        .deadlineExceeded, id, path,
        body.replacingOccurrences(of: text, with: "a")
          .replacingOccurrences(of: #""model""#, with: #""max_tokens":240,"model""#),
        [("X-Request-Timeout", "1")])
    }
    try trial.refused(
      .validationFailed, "createCompletion", "/v1/completions",
      #"{"model":"base","prompt":[2047000]}"#)
    try trial.refused(
      .validationFailed, "infer", "/infer", #"{"items":[{"task":"base","input":"a"}]}"#)
  }
}
