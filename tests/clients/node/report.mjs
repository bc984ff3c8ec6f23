// Runs scenarios one after the other and prints one JSON line for each: {"name", "result"} or {"name", "failed"}.
export async function report(scenarios) {
  for (const [name, scenario] of Object.entries(scenarios)) {
    try {
      console.log(JSON.stringify({ name, result: (await scenario()) ?? null }));
    } catch (error) {
      console.log(JSON.stringify({ name, failed: String(error?.stack ?? error) }));
    }
  }
}

export async function seconds(work) {
  const began = performance.now();
  const result = await work();
  return [result, (performance.now() - began) / 1000];
}
