//! Makes a parsed template look into maps and print through functions, and finds what Go would not have parsed: functions
//! and variables that do not exist.

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr};

use super::{ACTION, GET};

/// Functions that every Go template has.
const BUILT_IN: [&str; 21] = [
    "and", "break", "call", "continue", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery",
];

pub(super) struct Rewriter {
    functions: Vec<&'static str>,
    /// Variables that can be seen, innermost last.
    variables: Vec<SmolStr>,
    mistake: Option<(usize, String)>,
}

impl Rewriter {
    pub(super) fn new(functions: Vec<&'static str>) -> Self {
        Self { functions, variables: Vec::new(), mistake: None }
    }

    /// Line and words of the first mistake.
    pub(super) fn mistake(&self) -> Option<&(usize, String)> {
        self.mistake.as_ref()
    }

    /// Rewrites the body of a template.
    pub(super) fn body(&mut self, list: &mut ListNode) {
        self.variables = vec![SmolStr::new_static("$")];
        self.list(list);
    }

    fn list(&mut self, list: &mut ListNode) {
        for node in &mut list.nodes {
            match node {
                Node::List(list) => self.list(list),
                Node::Action(action) => {
                    self.pipe(&mut action.pipe);
                    if action.pipe.decl.is_empty() {
                        let args = vec![Expr::Identifier(action.pos, SmolStr::new_static(ACTION))];
                        action.pipe.commands.push(CommandNode { pos: action.pos, args });
                    }
                }
                Node::If(branch) | Node::Range(branch) | Node::With(branch) => self.branch(branch),
                Node::Template(template) => template.pipe.iter_mut().for_each(|pipe| self.pipe(pipe)),
                Node::Define(define) => self.list(&mut define.body),
                Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
    }

    fn branch(&mut self, branch: &mut BranchNode) {
        let outside = self.variables.len();
        self.pipe(&mut branch.pipe);
        self.list(&mut branch.body);
        branch.else_body.iter_mut().for_each(|list| self.list(list));
        self.variables.truncate(outside);
    }

    fn pipe(&mut self, pipe: &mut PipeNode) {
        for command in &mut pipe.commands {
            for expr in &mut command.args {
                self.expr(expr);
            }
        }
        for name in &pipe.decl {
            if pipe.is_assign {
                self.look_up(pipe.pos, name);
            } else {
                self.variables.push(name.clone());
            }
        }
    }

    fn expr(&mut self, expr: &mut Expr) {
        match expr {
            Expr::Field(pos, path) => *expr = get(*pos, Expr::Dot(*pos), path),
            Expr::Variable(pos, name, path) => {
                self.look_up(*pos, name);
                if !path.is_empty() {
                    *expr = get(*pos, Expr::Variable(*pos, name.clone(), Vec::new()), path);
                }
            }
            Expr::Chain(pos, inner, path) => {
                self.expr(inner);
                // A function's name in front belongs to the command and its arguments.
                if !matches!(**inner, Expr::Identifier(..)) {
                    *expr = get(*pos, (**inner).clone(), path);
                }
            }
            Expr::Identifier(pos, name) => {
                if !BUILT_IN.contains(&name.as_str()) && !self.functions.contains(&name.as_str()) {
                    self.note(*pos, format!("function {:?} not defined", name.as_str()));
                }
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Dot(_) | Expr::String(..) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_) => {}
        }
    }

    fn look_up(&mut self, pos: Pos, name: &SmolStr) {
        if !self.variables.contains(name) {
            self.note(pos, format!("undefined variable {:?}", name.as_str()));
        }
    }

    fn note(&mut self, pos: Pos, message: String) {
        self.mistake.get_or_insert((pos.line, message));
    }
}

/// `(__get of "a" "b")` for `of.a.b`.
fn get(pos: Pos, of: Expr, path: &[SmolStr]) -> Expr {
    let mut args = vec![Expr::Identifier(pos, SmolStr::new_static(GET)), of];
    args.extend(path.iter().map(|name| Expr::String(pos, name.as_str().into())));
    let commands = vec![CommandNode { pos, args }];
    Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false })
}
