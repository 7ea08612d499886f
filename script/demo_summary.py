"""Sets two results of `dca_lm passkey --json` side by side and says what they mean."""

import json
import sys


def main(dca_file, rope_file, model):
    with open(dca_file) as a, open(rope_file) as b:
        dca, rope = json.load(a), json.load(b)
    tokens, count = dca["tokens"], len(dca["trials"])
    print(f"\n{'=' * 78}\nA text of {tokens} tokens; the model was trained on windows of {dca['trained_window']}.\n")
    print(f"  {'key at':>8}  {'hidden':>7}   {'with DCA':<20} {'with plain RoPE'}")
    for d, r in zip(dca["trials"], rope["trials"]):
        answers = [f"{' '.join(t['answer'].split())[:10]} {'(right)' if t['correct'] else '(wrong)'}" for t in (d, r)]
        print(f"  {d['depth']:>7.0%}  {d['expected']:>8}   {answers[0]:<20} {answers[1]}")
    print(f"\n  found: {dca['correct']} of {count} with DCA ({dca['seconds']:.0f} s), "
          f"{rope['correct']} of {count} with plain RoPE ({rope['seconds']:.0f} s)")
    print(f"""
What happened: both runs read the same text with the same weights. Plain RoPE put the last
tokens at distances that the model never met in training. DCA cut the text into chunks and gave
every query a distance within the trained window; nothing was trained or tuned.

Try next:
  build/demo/examples/language_model/dca_lm ppl --model {model} \\
      --text BOOK.txt --tokens 16384 --attention dca      # or rope, linear, ntk, yarn
  script/demo 24000                                       # three times the window
  script/test                                             # the tests
""")


if __name__ == "__main__":
    main(*sys.argv[1:])
