// What the caller gives the scripts: arguments of the form NAME=value.
export const given = Object.fromEntries(process.argv.slice(2).map((argument) => argument.split(/=(.*)/s, 2)));
