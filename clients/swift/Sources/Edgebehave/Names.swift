import CryptoKit
import Foundation

private let maxNameBytes = 1024  // of UTF-8
private let keptCharacters = 200  // of a longer name, before the hash of the whole

/// What was wrong with a bundle or an argument, and what to do.
public struct PredictorError: LocalizedError {
  public let errorDescription: String?
  init(_ description: String) { errorDescription = description }
}

/// The name under which a string is kept. Throws a PredictorError for "".
func checkedName(_ name: String, _ what: String) throws -> String {
  if name.isEmpty { throw PredictorError("\(what) must not be empty") }
  return boundedName(name)
}

/// A name as it is; of one of more than 1,024 bytes the first 200 characters, "~" and the SHA-256 of its UTF-8.
public func boundedName(_ name: String) -> String {
  if name.utf8.count <= maxNameBytes { return name }
  let kept = String(String.UnicodeScalarView(name.unicodeScalars.prefix(keptCharacters)))
  return kept + "~" + sha256(Data(name.utf8))
}

func sha256(_ content: Data) -> String {
  SHA256.hash(data: content).map { String(format: "%02x", $0) }.joined()
}

/// A name as a key: Swift takes two Unicode forms of a word for the same String, and the SDK for two names.
struct ExactName: Hashable {
  private let bytes: [UInt8]
  init(_ name: String) { bytes = Array(name.utf8) }
}
