// Audits pages with Lighthouse, each in a browser of its own, and writes one line of JSON for each.
//
// Usage: node audit.mjs REQUEST, where REQUEST is JSON: {chromium, base, runs, forms, pages: [{name, path, token}]}.
import lighthouse, { desktopConfig } from "lighthouse";
import puppeteer from "puppeteer-core";

const CATEGORIES = ["performance", "accessibility", "best-practices"];
const MEASURES = ["first-contentful-paint", "largest-contentful-paint", "speed-index", "total-blocking-time", "cumulative-layout-shift"];
const INCOMPLETE = new Set(["NO_NAVSTART", "NO_FCP", "NO_LCP"]);
const ATTEMPTS = 3;
const { chromium, base, runs, forms, pages } = JSON.parse(process.argv[2]);

async function audit(form, { name, path, token }) {
  const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox"] });
  try {
    const page = await browser.newPage();
    if (token !== null) {
      await page.goto(`${base}/openapi.json`);
      await page.evaluate((kept) => localStorage.setItem("studysmart:/:token", kept), token);
    }
    // The browser is new, so its cache is empty; a reset would sign out.
    const flags = { onlyCategories: CATEGORIES, disableStorageReset: true, logLevel: "error" };
    const { lhr } = await lighthouse(`${base}/${path}`, flags, form === "desktop" ? desktopConfig : undefined, page);
    if (lhr.runtimeError) throw Object.assign(new Error(lhr.runtimeError.message), { code: lhr.runtimeError.code });
    if (new URL(lhr.finalDisplayedUrl).pathname !== `/${path}`) throw new Error(`${path} led to ${lhr.finalDisplayedUrl}`);
    const weighty = Object.values(lhr.categories).flatMap(({ auditRefs }) => auditRefs.filter(({ weight }) => weight > 0));
    return {
      form,
      name,
      scores: Object.fromEntries(Object.values(lhr.categories).map(({ id, score }) => [id, Math.round(score * 100)])),
      measures: Object.fromEntries(MEASURES.map((id) => [id, lhr.audits[id].numericValue])),
      short: weighty.map(({ id }) => lhr.audits[id]).filter(({ score }) => score !== null && score < 0.9).map(({ id }) => id),
    };
  } finally {
    await browser.close();
  }
}

/** Chromium's trace of a visit is sometimes incomplete, which says nothing about the page: then once more. */
async function patientAudit(form, page) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await audit(form, page);
    } catch (error) {
      if (!INCOMPLETE.has(error.code) || attempt === ATTEMPTS) throw error;
      console.error(`${form} ${page.name}: ${error.message}`);
    }
  }
}

for (const form of forms) {
  for (const page of pages) {
    for (let run = 0; run < runs; run += 1) console.log(JSON.stringify(await patientAudit(form, page)));
  }
}
