//! The names a template uses: its parser does not look them up.

use std::sync::Arc;

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, Parser, PipeNode};

const BUILT_IN: [&str; 20] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery", "block",
];

/// Functions called and labels read, each once.
#[derive(Default)]
pub(super) struct Names {
    functions: Vec<String>,
    pub(super) labels: Vec<Arc<str>>,
    /// Whether all labels are used at once.
    pub(super) whole: bool,
}

impl Names {
    pub(super) fn of(text: &str) -> gotmpl::Result<Self> {
        let (body, defines) = Parser::new(text, "{{", "}}")?.parse()?;
        let mut names = Self::default();
        names.list(&body);
        for define in &defines {
            names.list(&define.body);
        }
        Ok(names)
    }

    /// A function that is neither built in nor among `known`.
    pub(super) fn unknown_function(&self, known: &[&str]) -> Option<&str> {
        let unknown = |name: &&String| !BUILT_IN.contains(&name.as_str()) && !known.contains(&name.as_str());
        self.functions.iter().find(unknown).map(String::as_str)
    }

    fn list(&mut self, list: &ListNode) {
        for node in &list.nodes {
            match node {
                Node::List(list) => self.list(list),
                Node::Action(action) => self.pipe(&action.pipe),
                Node::If(branch) | Node::Range(branch) | Node::With(branch) => self.branch(branch),
                Node::Template(template) => template.pipe.iter().for_each(|pipe| self.pipe(pipe)),
                Node::Define(define) => self.list(&define.body),
                Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
    }

    fn branch(&mut self, branch: &BranchNode) {
        self.pipe(&branch.pipe);
        self.list(&branch.body);
        branch.else_body.iter().for_each(|list| self.list(list));
    }

    fn pipe(&mut self, pipe: &PipeNode) {
        for CommandNode { args, .. } in &pipe.commands {
            args.iter().for_each(|expr| self.expr(expr));
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Field(_, path) => {
                if let Some(label) = path.first()
                    && !self.labels.iter().any(|known| **known == **label)
                {
                    self.labels.push(Arc::from(label.as_str()));
                }
            }
            Expr::Identifier(_, name) => self.functions.push(name.to_string()),
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expr(inner),
            Expr::Dot(_) => self.whole = true,
            Expr::Variable(_, name, _) => self.whole |= name == "$",
            Expr::String(..) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_) => {}
        }
    }
}
