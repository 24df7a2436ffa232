// Package tokenizer reads a checkpoint's tokenizer.json and turns text into
// token ids and back. Its one job is to give the ids that the file's own
// library gives (Hugging Face tokenizers); a file that asks for anything else
// than byte-level BPE as read here is refused, never read in part.
//
// What is read: the BPE model with its vocabulary, its merges in both forms
// and ignore_merges; added tokens with their matching rules; the pre-tokenizers
// Split and ByteLevel, alone or in a Sequence that ends in ByteLevel; the
// normalizer NFC; the post-processors ByteLevel and TemplateProcessing; the
// decoder ByteLevel.
package tokenizer
