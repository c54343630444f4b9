// Parses and binds KQL with @kusto/language-service-next, Microsoft's own language service (npm, MIT), against the tables given.
// usage: node kql-check.js FOLDER < request.json   where FOLDER holds node_modules, and the request is
// {"tables": {"Heartbeat": "Computer:string TimeGenerated:datetime"}, "queries": {"name": "text"}}.
// Prints {"name": ["what is wrong, and where"]} and exits with 0.
const fs = require("fs"), path = require("path");
const service = path.join(process.argv[2], "node_modules", "@kusto", "language-service-next");
require(path.join(service, "bridge.min.js"));
require(path.join(service, "Kusto.Language.Bridge.min.js"));
const { tables, queries } = JSON.parse(fs.readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, columns]) => {
  const schema = columns.split(/\s+/).map(column => column.replace(/^(\w+):/, "['$1']:")).join(", ");
  return Kusto.Language.Symbols.TableSymbol.From(`(${schema})`).WithName(name);
});
const workspace = new Kusto.Language.Symbols.DatabaseSymbol.$ctor1("workspace", symbols);
const globals = Kusto.Language.GlobalState.Default.WithDatabase(workspace);
const found = {};
for (const [name, text] of Object.entries(queries)) {
  const diagnostics = Kusto.Language.KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  found[name] = [...Array(diagnostics.Count).keys()].map(place => diagnostics.getItem(place))
    .map(each => `line ${text.slice(0, each.Start).split("\n").length}: ${each.Severity}: ${each.Message}`);
}
console.log(JSON.stringify(found));
