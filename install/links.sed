# SPDX-License-Identifier: LGPL-2.1-or-later
# Of documents that are installed: links lead to where the others are installed, and
# what is for whoever has the sources is not linked.
s,](docs/\(guides\|picture\)/,](\1/,g
s,](\(schema\|conf\)/,](,g
s,](../../schema/,](../,g
/^- \[[^]]*\](\(docs\/README\|ARCHITECTURE\|CONTRIBUTING\)\.md)/d
/^- \[[^]]*\](tests\//d
s,\[\([^]]*\)\](\(COPYING\|\.\./man/[^)]*\)),\1,g
