// Package strictjson decodes one JSON object and refuses what encoding/json
// lets pass: a repeated key, text after the object, bytes that are not UTF-8.
// Its one job is that every reader of a file sees the same value under a key.
package strictjson
