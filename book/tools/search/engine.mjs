// Ranks what there is to find in an edition, in the reader's browser. units.py says what a unit is.
import MiniSearch from "minisearch";

const FIELDS = { title: 12, terms: 6, page: 2, text: 1, captions: 0.5, code: 0.1 };
const KINDS = { section: 1, name: 0.008, term: 0.7, exercise: 0.1, claim: 0.2, solution: 0.05, sheet: 0.05, work: 0.05 };
const NAMED = 3; // for a title or an index entry that is the question
const WHOLE = 180; // for a name of the library that is the question, dots and all
const EXACT = 25; // for the last part of one, to the letter
const THIRD = 2; // where a name of the library stands at worst whose last part is the question
const BEGINNING = 0.4; // what “norm” counts in “normal”
const COMMON = 0.2; // what “which” and “my” count
const COVERED = 0.6; // the part of a question that a result must hold, rare words weighing more
const SAME = {
  alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", eps: "ε", eta: "η", theta: "θ", kappa: "κ",
  lambda: "λ", mu: "μ", rho: "ρ", sigma: "σ", tau: "τ", phi: "φ", psi: "ψ", omega: "ω",
  bf16: "bfloat16", fp16: "float16", fp32: "float32", fp64: "float64",
};
const WORD = /[\p{L}\p{M}\p{Nd}]+(?:[-_’'][\p{L}\p{M}\p{Nd}]+)*/gu;
const CODE = /[._\p{Lu}]/u; // what a name has that is no word
const JOINT = /[-_’']/;

const wordsOf = (text) => text.match(WORD) ?? [];
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

function remember(work) {
  const known = new Map();
  return (key) => known.get(key) ?? known.set(key, work(key)).get(key);
}

// How a language compares words: without case, accents and endings, umlauts written either way.
function reader({ digraphs, stem, common }) {
  const pairs = digraphs && new RegExp(digraphs, "g");
  const fold = (word) => {
    const letters = word.normalize("NFKC").toLowerCase();
    const vowels = pairs ? letters.replace(pairs, "$1") : letters;
    return vowels.normalize("NFD").replace(/\p{M}/gu, "").replaceAll("ß", "ss");
  };
  const root = remember((folded) => SAME[folded] ?? stem(folded.replace(/^([cm])(\d)$/, "$10$2")));
  // “Pre-LN” is preln, pre and ln.
  const forms = remember((word) => {
    const parts = word.split(JOINT).map(fold);
    return parts.length > 1 ? [parts.join(""), ...parts] : parts;
  });
  return { common: new Set(common.map(fold)), forms, root, rootsOf: remember((word) => forms(word).map(root)) };
}

// Returns find(query): the results, the best first.
export async function searchIn(language, units) {
  const { common, forms, root, rootsOf } = reader(language);
  const pages = Object.fromEntries(units.filter(([, , place]) => !place).map(([, page, , title]) => [page, title]));
  const documents = units.map(([kind, page, place, title, terms, text, captions, code], id) => ({
    id, kind, title, terms, text, captions, code,
    url: place ? `${page}#${place}` : page,
    page: place && pages[page],
  }));
  const spelt = new Set();
  const index = new MiniSearch({
    fields: Object.keys(FIELDS),
    stringifyField: (field) => [field].flat().join(" "),
    tokenize: (text) => wordsOf(text).flatMap(forms),
    processTerm: (folded) => root(spelt.add(folded) && folded),
    searchOptions: {
      bm25: { k: 2, b: 0.5, d: 0.5 },
      boost: FIELDS,
      boostDocument: (id) => KINDS[documents[id].kind],
      tokenize: (term) => [term],
      processTerm: (term) => term,
    },
  });
  await index.addAllAsync(documents, { chunkSize: 50 });

  // The words of a question; of “QK-Norm”, if nobody writes it so, the parts.
  const asked = (query) =>
    wordsOf(query).flatMap((word) => {
      const [whole, ...parts] = forms(word);
      return parts.length && !spelt.has(whole) ? parts : whole;
    });
  const spell = (text) => asked(text).map(root).join(" ");

  // The units that hold a word, or one that begins so; if there are none, one that is spelt nearly so.
  function look(folded) {
    const longer = folded.length < 3 ? [] : [...spelt].filter((other) => other.startsWith(folded));
    const wanted = new Map(longer.map((other) => [root(other), (BEGINNING * folded.length) / other.length]));
    wanted.set(root(folded), 1);
    const found = index.search({ queries: [...wanted.keys()], boostTerm: (term) => wanted.get(term) });
    return found.length ? found : index.search(root(folded), { fuzzy: 0.25 });
  }

  // The first of the sentences that hold most of a question, in pieces; what was found is marked.
  function excerpt({ text, captions }, held) {
    const marks = (word) => rootsOf(word).filter((term) => held.has(term)).map((term) => held.get(term));
    const weights = [...text, ...captions].map((sentence) =>
      sum([...new Set(wordsOf(sentence).flatMap(marks))].map(({ weight }) => weight)));
    const best = [...text, ...captions][weights.indexOf(Math.max(...weights))] ?? "";
    const pieces = [];
    let end = 0;
    for (const { 0: word, index: start } of best.matchAll(WORD)) {
      if (!marks(word).length) continue;
      pieces.push({ text: best.slice(end, start) }, { text: word, marked: true });
      end = start + word.length;
    }
    return [...pieces, { text: best.slice(end) }];
  }

  // Each word of a question that the book holds: where, and how much it tells.
  function weigh(query) {
    const known = asked(query).map((folded) => ({ folded, found: look(folded) })).filter(({ found }) => found.length);
    const telling = known.some(({ folded }) => !common.has(folded));
    return known.map((word) => ({
      ...word,
      weight: telling && common.has(word.folded) ? 0 : Math.log(1 + documents.length / word.found.length),
    }));
  }

  return function find(query) {
    const words = weigh(query);
    const all = sum(words.map(({ weight }) => weight));
    const results = new Map();
    for (const word of words) {
      for (const { id, score, terms } of word.found) {
        if (!results.has(id)) results.set(id, { id, strength: 0, covered: 0, held: new Map() });
        const result = results.get(id);
        result.strength += Math.sqrt(score) * (word.weight ? 1 : COMMON); // two words weigh more than one twice
        result.covered += word.weight / all;
        if (word.weight) for (const term of terms) result.held.set(term, word);
      }
    }
    const isEntry = ({ kind, title, terms }) => kind === "name" && [title, ...terms].some((name) => `.${name}`.endsWith(`.${query}`));
    const named = (unit) => {
      if (isEntry(unit)) return !CODE.test(query) ? 1 : query.includes(".") ? WHOLE : EXACT;
      const names = unit.kind === "name" ? [] : [...unit.title.split(", "), ...unit.terms];
      return names.some((name) => spell(name) === spell(query)) ? NAMED : 1;
    };
    const rank = ({ id, strength, covered }) => strength * covered * named(documents[id]);
    const ranked = [...results.values()]
      .filter(({ covered }) => covered >= COVERED)
      .map((result) => ({ ...result, rank: rank(result) }))
      .sort((a, b) => b.rank - a.rank);
    const at = ranked.findIndex(({ id }) => isEntry(documents[id]));
    if (at > THIRD) ranked.splice(THIRD, 0, ...ranked.splice(at, 1));
    return ranked.map(({ id, held }) => ({ ...documents[id], excerpt: () => excerpt(documents[id], held) }));
  };
}
