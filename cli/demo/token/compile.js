// Prints the ABI and bytecode of Token.sol as the JSON that is committed beside it.
// Usage: node cli/demo/token/compile.js [folder of node_modules] > cli/demo/token/Token.json
const fs = require("fs");
const path = require("path");

const modules = process.argv[2] || path.join(__dirname, "..", "..", "..", "node_modules");
const solc = require(path.join(path.resolve(modules), "solc"));
const input = {
  language: "Solidity",
  sources: { "Token.sol": { content: fs.readFileSync(path.join(__dirname, "Token.sol"), "utf8") } },
  settings: {
    evmVersion: "shanghai",
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors || []).filter((error) => error.severity === "error");
if (errors.length) {
  console.error(errors.map((error) => error.formattedMessage).join("\n"));
  process.exit(1);
}
const token = output.contracts["Token.sol"].Token;
console.log(JSON.stringify({ abi: token.abi, bytecode: "0x" + token.evm.bytecode.object }, null, 1));
