// modules: Tokenizers
// Compiled with the module's own sources by Deploy/scripts/fuzz.sh.

/// A `tokenizer.json`, a zero byte, a text, a zero byte, a second text. What the file gives must be in range, and what
/// is streamed of ids must be what is decoded.
///
/// Sound files of each kind are tried too, so that the texts count where the file is refused.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ data: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let parts = bytes.split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
  let first = parts.count > 1 ? String(decoding: parts[1], as: UTF8.self) : ""
  let second = parts.count > 2 ? String(decoding: parts[2], as: UTF8.self) : nil
  for tokenizer in [try? Tokenizer(json: Array(parts[0]))].compactMap(\.self) + sound() {
    check(tokenizer, first, second)
    check(tokenizer, String(decoding: bytes, as: UTF8.self), nil)
    checkText(tokenizer, bytes.map { Int32($0) % Int32(max(tokenizer.vocabularySize, 1)) })
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
  checkText(tokenizer, whole.ids)
}

private func checkText(_ tokenizer: Tokenizer, _ ids: [Int32]) {
  for skips in [false, true] {
    var stream = tokenizer.stream(skippingSpecial: skips)
    var text = ids.map { stream.append($0) }.joined()
    text += stream.finish()
    precondition(text.utf8.elementsEqual(tokenizer.decode(ids, skippingSpecial: skips).utf8))
  }
}

/// Made anew for each input: the leak check cannot follow pointers that an enum of a global keeps with bits of its own.
private func sound() -> [Tokenizer] {
  [wordPiece, byteLevel, sentencePiece, unigram].map { file in
    guard let tokenizer = try? Tokenizer(json: Array(file.utf8)) else {
      preconditionFailure("a file is not sound")
    }
    return tokenizer
  }
}

private let wordPiece = ###"""
    {"added_tokens":[{"id":9,"content":"[MASK]","single_word":false,"lstrip":true,"rstrip":true,"normalized":false,
    "special":true},{"id":10,"content":"Caf\u00e9","single_word":true,"lstrip":true,"rstrip":true,"normalized":true,
    "special":false}],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,
    "strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},
    "post_processor":{"type":"BertProcessing","cls":["[CLS]",1],"sep":["[SEP]",2]},
    "decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
    "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":10,
    "vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"##a":4,"ab":5,"##\u4e2d":6,"\u4e2d":7,".":8}}}
  """###

private let byteLevel = ###"""
    {"added_tokens":[{"id":9,"content":"<|end|>","single_word":false,"lstrip":true,"rstrip":true,"normalized":false,
    "special":true}],"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"Sequence","pretokenizers":[
    {"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    "behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},
    "post_processor":{"type":"ByteLevel","trim_offsets":true,"add_prefix_space":true},"decoder":{"type":"ByteLevel"},
    "model":{"type":"BPE","unk_token":null,"ignore_merges":true,"vocab":{"a":0,"b":1,"\u0120":2,"ab":3,"\u0120ab":4,
    "\u00c3":5,"\u00a9":6,"\u00c3\u00a9":7,"aba":8},"merges":["a b",["\u0120","ab"],["\u00c3","\u00a9"],["ab","a"]]}}
  """###

private let sentencePiece = ###"""
    {"added_tokens":[{"id":2,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,
    "special":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},
    {"type":"Replace","pattern":{"String":" "},"content":"\u2581"}]},"pre_tokenizer":null,
    "post_processor":null,"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"\u2581"},
    "content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1}]},
    "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<s>":1,"</s>":2,
    "<0xC3>":3,"<0xA9>":4,"<0x0A>":5,"a":6,"b":7,"\u2581":8,"\u2581a":9,"\u2581ab":10},
    "merges":["\u2581 a","\u2581a b"]}}
  """###

private let unigram = ###"""
    {"added_tokens":[],"normalizer":{"type":"Sequence","normalizers":[{"type":"Nmt"},{"type":"NFKD"},
    {"type":"StripAccents"},{"type":"Lowercase"},{"type":"Strip","strip_left":true,"strip_right":true},
    {"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}]},
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
    {"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true}]},"post_processor":null,
    "decoder":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"first","split":true},
    "model":{"type":"Unigram","unk_id":0,"byte_fallback":false,"vocab":[["<unk>",0],["a",-1.5],["b",-2],["ab",-2.5],
    ["\u2581",-3],["\u2581a",-3.5],["e",-4]]}}
  """###
