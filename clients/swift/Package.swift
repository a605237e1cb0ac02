// swift-tools-version:5.9

import PackageDescription

let package = Package(
  name: "Edgebehave",
  platforms: [.iOS(.v15), .macOS(.v12)],
  products: [.library(name: "Edgebehave", targets: ["Edgebehave"])],
  dependencies: [
    .package(url: "https://github.com/microsoft/onnxruntime-swift-package-manager", from: "1.24.0")
  ],
  targets: [
    .target(
      name: "Edgebehave",
      dependencies: [.product(name: "onnxruntime", package: "onnxruntime-swift-package-manager")]),
    .testTarget(name: "EdgebehaveTests", dependencies: ["Edgebehave"]),
  ]
)
