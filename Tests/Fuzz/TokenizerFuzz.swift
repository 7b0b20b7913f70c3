// modules: Tokenizers
// Compiled with the module's own sources by Deploy/scripts/long-test.sh.

/// A `tokenizer.json`, a zero byte, a text, a zero byte, a second text. What the file gives must be in range.
///
/// A file that is refused is replaced by a sound one, so that the texts are tried in any case.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let parts = bytes.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
  let first = parts.count > 1 ? String(decoding: parts[1], as: UTF8.self) : ""
  let second = parts.count > 2 ? String(decoding: parts[2], as: UTF8.self) : nil
  for tokenizer in [try? Tokenizer(json: Array(parts[0])), sound].compactMap(\.self) {
    check(tokenizer, first, second)
    check(tokenizer, String(decoding: bytes, as: UTF8.self), nil)
  }
  return 0
}

private func check(_ tokenizer: Tokenizer, _ first: String, _ second: String?) {
  let whole = tokenizer.encode(first, pair: second, limit: nil)
  precondition(whole.ids.count == whole.untruncatedCount && !whole.isTruncated)
  let longest = max(first.utf8.count, second?.utf8.count ?? 0)
  for limit in [nil, 0, 8] {
    let encoding = tokenizer.encode(first, pair: second, limit: limit)
    precondition(encoding.ids.count == encoding.typeIDs.count && encoding.ids.count == encoding.offsets.count)
    precondition(encoding.untruncatedCount == whole.untruncatedCount)
    precondition(encoding.offsets.allSatisfy { $0.lowerBound >= 0 && $0.upperBound <= longest })
  }
}

private let sound = try? Tokenizer(
  json: Array(
    ###"""
    {"added_tokens":[{"id":9,"content":"[MASK]","single_word":false,"lstrip":true,"rstrip":true,"normalized":false,
    "special":true},{"id":10,"content":"Caf\u00e9","single_word":true,"lstrip":true,"rstrip":true,"normalized":true,
    "special":false}],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
    "strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},
    "post_processor":{"type":"BertProcessing","cls":["[CLS]",1],"sep":["[SEP]",2]},
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":10,
    "vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"##a":4,"ab":5,"##\u4e2d":6,"\u4e2d":7,".":8}}}
    """###.utf8))
