// Says how many milliseconds a time has.
const ms = require("ms");

const text = process.argv.slice(2).join(" ");
console.log(`${text} are ${ms(text)} ms; memory is known: ${process.memoryUsage().rss > 0}`);
